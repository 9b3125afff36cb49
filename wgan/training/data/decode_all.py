"""All images of a source as one array of pixels: decoded once, in parallel."""

import logging
import math
from collections.abc import Callable, Iterator

import numpy as np

from wgan.errors import DataError, ImageError, OutputError
from wgan.training.data.cache import Cache
from wgan.training.data.dataset import InMemoryDataset, Part, Skipped, pixels_sha256
from wgan.training.data.parallel import in_threads, quiet_pillow
from wgan.training.data.pixelfile import read_images, write_images
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.transform import WHITE, Colour, Transform

logger = logging.getLogger(__name__)

DAMAGED_LIMIT = 0.01
"""The share of images that may be damaged, and is skipped."""

CHUNK = 16
"""Images that a thread decodes at a time."""

Tell = Callable[[int, int], object]
"""Called with how many images are done, and of how many."""


def load_images(
    source: ImageSource,
    *,
    size: int,
    channels: int,
    crop: int = 0,
    background: Colour = WHITE,
    allow_damaged: bool = False,
    progress: Tell | None = None,
    cache: Cache | None = None,
) -> InMemoryDataset:
    """Decode every image of `source`, as `Transform` describes; from the cache if it is there.

    Args:
        source: where the images come from.
        size: height and width, in pixels.
        channels: 1 for grey, 3 for colour.
        crop: cut out the middle, so many pixels each way, before resizing; 0 leaves it out.
        background: what alpha is laid over.
        allow_damaged: go on, however many are damaged.
        progress: is told now and then how many are done.
        cache: where decoded images are kept on disk; None holds them in memory alone. A cache
            that cannot be written is named in a warning, and memory is used.

    Raises:
        DataError: more than 1 % are damaged and that is not allowed, or all are; or they would
            take more of the disk than the cache may.
    """
    transform = Transform(size=size, channels=channels, crop=crop, background=background)
    with quiet_pillow():
        if cache is None:
            return _decode_into_memory(source, transform, allow_damaged, progress)
        return _through_cache(cache, source, transform, allow_damaged, progress)


def _through_cache(
    cache: Cache,
    source: ImageSource,
    transform: Transform,
    allow_damaged: bool,
    progress: Tell | None,
) -> InMemoryDataset:
    place = cache.place(source, transform)
    images = read_images(place)
    if images is not None:
        check_skipped(images.skipped, len(source), allow_damaged)
        return images
    try:
        cache.make_room(len(source) * math.prod(transform.shape))
        return write_images(place, decode_all(source, transform, allow_damaged, progress))
    except OutputError as exc:
        logger.warning("%s; the images are held in memory instead", exc)
        return _decode_into_memory(source, transform, allow_damaged, progress)


def _decode_into_memory(
    source: ImageSource, transform: Transform, allow_damaged: bool, progress: Tell | None
) -> InMemoryDataset:
    # Memory that is reserved but never written, since an image was damaged, costs nothing.
    pixels = np.empty((len(source), *transform.shape), dtype=np.uint8)
    skipped: list[Skipped] = []
    count = 0
    for some, damaged in decode_all(source, transform, allow_damaged, progress):
        pixels[count : count + len(some)] = some
        count += len(some)
        skipped += damaged
    return InMemoryDataset(pixels[:count], skipped, pixels_sha256(pixels[:count]))


def decode_all(
    source: ImageSource, transform: Transform, allow_damaged: bool, progress: Tell | None
) -> Iterator[Part]:
    """Decode every image of `source`, in its order, some at a time; inside `quiet_pillow`.

    Raises:
        DataError: at the end, when too much was damaged.
    """

    def decode_some(chunk: range) -> Part:
        pixels, damaged = [], []
        for index in chunk:
            try:
                pixels.append(transform(source.image(index, transform.size)))
            except ImageError as exc:
                damaged.append((source.label(index), str(exc)))
        return np.array(pixels, np.uint8).reshape(-1, *transform.shape), damaged

    count = len(source)
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    skipped: list[Skipped] = []
    for chunk, part in zip(chunks, in_threads(decode_some, chunks), strict=True):
        skipped += part[1]
        yield part
        if progress:
            progress(chunk.stop, count)
    check_skipped(skipped, count, allow_damaged)


def check_skipped(skipped: list[Skipped], count: int, allow_damaged: bool) -> None:
    """Refuse data of which too much is damaged.

    Raises:
        DataError: more than DAMAGED_LIMIT is and that is not allowed, or all is.
    """
    if not skipped:
        return
    label, reason = skipped[0]
    found = f"{len(skipped)} of {count} images are damaged; the first is {label}: {reason}"
    if len(skipped) == count:
        raise DataError(f"none can be used: {found}")
    if len(skipped) > DAMAGED_LIMIT * count and not allow_damaged:
        raise DataError(
            f"{found}. At most {DAMAGED_LIMIT:.0%} may be: mend them, or skip them all with"
            " --allow-damaged"
        )
