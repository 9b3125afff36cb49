"""All pictures of a source as one array of pixels: decoded once, in parallel."""

import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wgan.errors import DataError, PictureError
from wgan.images import Pixels
from wgan.training.data.source import Source
from wgan.training.data.transform import Transform

DAMAGED_LIMIT = 0.01
"""The share of pictures that may be damaged, and is skipped."""

CHUNK = 16
"""Pictures that a thread decodes before it reports."""

Progress = Callable[[int, int], object]
"""Called with how many pictures are done, and of how many."""

Skipped = tuple[str, str]
"""A picture's label, and why it is not used."""


@dataclass(frozen=True)
class Pictures:
    """What a run learns from."""

    pixels: Pixels  # [n, height, width, channels]
    skipped: list[Skipped]  # in the order of the source
    sha256: str  # of the pixels and their shape


def load_pictures(
    source: Source,
    *,
    size: int,
    channels: int,
    allow_damaged: bool = False,
    progress: Progress | None = None,
) -> Pictures:
    """Decode every picture of `source` into memory, as `Transform` describes.

    Args:
        source: where the pictures come from.
        size: height and width, in pixels.
        channels: 1 for grey, 3 for colour.
        allow_damaged: go on, however many are damaged.
        progress: is told now and then how many are done.

    Raises:
        DataError: more than 1 % are damaged and that is not allowed, or all are.
    """
    pixels = np.empty((len(source), size, size, channels), dtype=np.uint8)
    damaged = decode_all(source, Transform(size=size, channels=channels), pixels, progress)
    skipped = [(source.label(index), reason) for index, reason in damaged]
    check_skipped(skipped, len(source), allow_damaged)
    kept = close_gaps(pixels, [index for index, _ in damaged])
    return Pictures(kept, skipped, pixels_sha256(kept))


def decode_all(
    source: Source, transform: Transform, pixels: Pixels, progress: Progress | None
) -> list[tuple[int, str]]:
    """Decode picture k of `source` into `pixels[k]`; returns which could not be, and why."""
    count = len(source)
    damaged: list[tuple[int, str]] = []

    def decode_chunk(chunk: range) -> None:
        for index in chunk:
            try:
                pixels[index] = transform(source.picture(index, transform.size))
            except PictureError as exc:
                damaged.append((index, str(exc)))

    with warnings.catch_warnings():
        # Pillow warns of oddities in files that it can read all the same.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        chunks = (range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK))
        for chunk in _in_parallel(decode_chunk, chunks):
            if progress:
                progress(chunk.stop, count)
    return sorted(damaged)


def _in_parallel(work: Callable[[range], None], chunks: Iterable[range]) -> Iterator[range]:
    """Do `work` on each chunk in threads, nearly in order; gives each chunk when it is done.

    Threads are enough since Pillow lets others run while it decodes and resizes. Few chunks wait
    at a time: a source that is read forward is never asked for something far ahead.
    """
    threads = min(32, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[range, Future[None]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(work, chunk)))
            if len(waiting) > 2 * threads:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _finished(waiting: deque[tuple[range, Future[None]]]) -> range:
    chunk, future = waiting.popleft()
    future.result()
    return chunk


def check_skipped(skipped: list[Skipped], count: int, allow_damaged: bool) -> None:
    """Refuse data of which too much is damaged.

    Raises:
        DataError: more than DAMAGED_LIMIT is and that is not allowed, or all is.
    """
    if not skipped:
        return
    label, reason = skipped[0]
    found = f"{len(skipped)} of {count} pictures are damaged; the first is {label}: {reason}"
    if len(skipped) == count:
        raise DataError(f"none can be used: {found}")
    if len(skipped) > DAMAGED_LIMIT * count and not allow_damaged:
        raise DataError(
            f"{found}. At most {DAMAGED_LIMIT:.0%} may be: mend them, or skip them all with"
            " --allow-damaged"
        )


def close_gaps(pixels: Pixels, damaged: list[int]) -> Pixels:
    """Move the pictures up over the damaged ones, in place; returns the part that is in use."""
    used = damaged[0] if damaged else len(pixels)
    # Between one damaged picture and the next stands a stretch that moves as a whole.
    for gap, end in itertools.pairwise([*damaged, len(pixels)]):
        stretch = pixels[gap + 1 : end]
        pixels[used : used + len(stretch)] = stretch
        used += len(stretch)
    return pixels[:used]


def pixels_sha256(pixels: Pixels) -> str:
    """Name pixels by their contents: SHA-256 of the shape and the bytes, in hexadecimal."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
