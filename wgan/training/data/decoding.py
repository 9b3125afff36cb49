"""Decode image files: one safely, and all images of a source in threads."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wgan.errors import DataError, ImageError
from wgan.files import lacks_open_files
from wgan.host import usable_cores
from wgan.images import Pixels
from wgan.parallel import Item, Result, ordered_map
from wgan.progress import ProgressFn
from wgan.training.data.sources import ImageSource
from wgan.training.data.transform import Transform

ENDINGS = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""File name extensions of images, in lower case."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's readers that are used. The others are old, and the one for EPS starts Ghostscript."""

PIXEL_LIMIT = 2**26
"""Images of more pixels are rejected: decoded they would take over 256 MiB."""

DAMAGED_LIMIT = 0.01
"""The share of images that may be damaged without `allow_damaged`."""

CHUNK = 16
"""Images that a thread decodes at a time."""

# What Pillow's readers raise for damaged files, found by flipping bits.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


class Skipped(NamedTuple):
    """An image that is not used."""

    name: str
    reason: str


Part = tuple[Pixels, list[Skipped]]
"""Consecutive good images, and the damaged ones between them."""


def is_image_name(name: str) -> bool:
    """Whether a file name has an image's extension and is not hidden."""
    stem, dot, ending = name.rpartition(".")
    if dot + ending.lower() not in ENDINGS:
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in stem.split("/"))


def decode(file: BinaryIO | Path) -> Image.Image:
    """Decode the first frame of the image in `file`, upright according to its EXIF orientation.

    Raises:
        ImageError: it is damaged, no image, or larger than PIXEL_LIMIT. The size is read from the
            header, before memory is allocated.
    """
    Image.init()  # loads Pillow's readers; some builds of Pillow lack some
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise ImageError(
                    f"it has {image.width}x{image.height} pixels, more than {PIXEL_LIMIT} in all"
                )
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except _DAMAGED as exc:
        if lacks_open_files(exc):  # no fault of the image: it must not be left out
            raise
        raise ImageError(_reason(exc)) from exc


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "it is not an image, in spite of its name"
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {PIXEL_LIMIT} pixels"
    if isinstance(exc, FileNotFoundError):
        return "the file no longer exists"
    return str(exc) or type(exc).__name__


def decode_all(
    source: ImageSource, transform: Transform, allow_damaged: bool, progress: ProgressFn | None
) -> Iterator[Part]:
    """Decode every image of `source` in its order, in parts; use within `quiet_pillow`.

    Raises:
        DataError: at the end, if too many were damaged.
    """

    def decode_chunk(chunk: range) -> Part:
        pixels, damaged = [], []
        for index in chunk:
            try:
                pixels.append(transform(source.image(index, transform.size)))
            except ImageError as exc:
                damaged.append(Skipped(source.image_name(index), str(exc)))
        return np.array(pixels, np.uint8).reshape(-1, *transform.shape), damaged

    count = len(source)
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    skipped: list[Skipped] = []
    for chunk, part in zip(chunks, in_threads(decode_chunk, chunks), strict=True):
        skipped += part[1]
        yield part
        if progress:
            progress(chunk.stop, count)
    check_skipped(skipped, count, allow_damaged)


def check_skipped(skipped: list[Skipped], count: int, allow_damaged: bool) -> None:
    """Check how many of `count` images are damaged.

    Raises:
        DataError: all are, or more than DAMAGED_LIMIT without `allow_damaged`.
    """
    if not skipped:
        return
    name, reason = skipped[0]
    found = f"{len(skipped)} of {count} images are damaged; the first is {name}: {reason}"
    if len(skipped) == count:
        raise DataError(f"no image can be used: {found}")
    if len(skipped) > DAMAGED_LIMIT * count and not allow_damaged:
        raise DataError(
            f"{found}. At most {DAMAGED_LIMIT:.0%} may be damaged: repair them, or skip them with"
            " --allow-damaged"
        )


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `work(item)` in order; Pillow releases the GIL while it decodes and resizes.

    The look-ahead is small, because some sources can only be read forward.
    """
    threads = min(32, usable_cores())
    return ordered_map(items, work, workers=threads, ahead=2 * threads)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Hide Pillow's warnings about flaws in files that it can read nevertheless."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
