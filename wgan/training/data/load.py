"""From a source to what a run learns from: all images at once, or a stream of them."""

import logging

from wgan.errors import ImageError
from wgan.training.data.cache import Cache
from wgan.training.data.dataset import InMemoryDataset
from wgan.training.data.decode_all import Tell, load_images
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.streaming.dataset import BUFFER, StreamingDataset
from wgan.training.data.streaming.shards import Shards
from wgan.training.data.transform import WHITE, Colour, Transform

logger = logging.getLogger(__name__)


def load_data(
    source: ImageSource | Shards,
    *,
    size: int,
    channels: int,
    crop: int = 0,
    background: Colour = WHITE,
    allow_damaged: bool = False,
    progress: Tell | None = None,
    cache: Cache | None = None,
    buffer: int = BUFFER,
) -> InMemoryDataset | StreamingDataset:
    """Load the images of `source` as `load_images` does; shards are opened to be streamed.

    Both results have `count`, `skipped`, `sha256` and `batches(batch_size, seed, device, flip)`.
    `buffer` is the number of encoded images that a stream shuffles at a time; `progress` and
    `cache` are not for streams. Raises DataError.
    """
    if isinstance(source, Shards):
        transform = Transform(size=size, channels=channels, crop=crop, background=background)
        return StreamingDataset(source, transform, allow_damaged, buffer)
    if crop:
        _warn_of_small_images(source, crop, size)
    return load_images(
        source,
        size=size,
        channels=channels,
        crop=crop,
        background=background,
        allow_damaged=allow_damaged,
        progress=progress,
        cache=cache,
    )


def _warn_of_small_images(source: ImageSource, crop: int, size: int) -> None:
    """Say where the first image has not as many pixels as are to be cut out of it."""
    try:
        width, height = source.image(0, size).size
    except ImageError:  # it is counted among the damaged
        return
    if min(width, height) < crop:
        logger.warning(
            "--crop %d is more than there is of %s, of %dx%d pixels: what is smaller is used whole",
            crop,
            source.label(0),
            width,
            height,
        )
