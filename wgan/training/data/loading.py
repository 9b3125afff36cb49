"""From a source to what a run learns from: all pictures at once, or a stream of them."""

import logging

from wgan.errors import PictureError
from wgan.training.data.cache import Cache
from wgan.training.data.decoded import Pictures
from wgan.training.data.pictures import Tell, load_pictures
from wgan.training.data.shards import Shards
from wgan.training.data.source import Source
from wgan.training.data.stream import BUFFER, Stream
from wgan.training.data.transform import WHITE, Colour, Transform

logger = logging.getLogger(__name__)


def load_data(
    source: Source | Shards,
    *,
    size: int,
    channels: int,
    crop: int = 0,
    background: Colour = WHITE,
    allow_damaged: bool = False,
    progress: Tell | None = None,
    cache: Cache | None = None,
    buffer: int = BUFFER,
) -> Pictures | Stream:
    """Load the pictures of `source` as `load_pictures` does; shards are opened to be streamed.

    Both results have `count`, `skipped`, `sha256` and `batches(batch_size, seed, device, flip)`.
    `buffer` is the number of encoded pictures that a stream shuffles at a time; `progress` and
    `cache` are not for streams. Raises DataError.
    """
    if isinstance(source, Shards):
        transform = Transform(size=size, channels=channels, crop=crop, background=background)
        return Stream(source, transform, allow_damaged, buffer)
    if crop:
        _warn_of_small_pictures(source, crop, size)
    return load_pictures(
        source,
        size=size,
        channels=channels,
        crop=crop,
        background=background,
        allow_damaged=allow_damaged,
        progress=progress,
        cache=cache,
    )


def _warn_of_small_pictures(source: Source, crop: int, size: int) -> None:
    """Say where the first picture has not as many pixels as are to be cut out of it."""
    try:
        width, height = source.picture(0, size).size
    except PictureError:  # it is counted among the damaged
        return
    if min(width, height) < crop:
        logger.warning(
            "--crop %d is more than there is of %s, of %dx%d pixels: what is smaller is used whole",
            crop,
            source.label(0),
            width,
            height,
        )
