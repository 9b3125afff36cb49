"""One file's bytes to one upright image, and nothing worse than a ImageError on the way."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from wgan.errors import ImageError

ENDINGS = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""The endings of files that are taken for images, in lower case."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for. Its other readers are older, and one of them starts programs."""

PIXEL_LIMIT = 2**26
"""An image of more pixels than this is refused: decoded it would take over 256 MiB."""

# What Pillow's readers raise when a file is damaged, as far as flipping bits has shown.
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


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image: by its ending, and not hidden."""
    stem, dot, ending = name.rpartition(".")
    if dot + ending.lower() not in ENDINGS:
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in stem.split("/"))


def decode(file: BinaryIO | Path) -> Image.Image:
    """Decode the image in `file`: its first frame, turned upright as its EXIF data says.

    Raises:
        ImageError: it is damaged, no image, or larger than PIXEL_LIMIT. The last is told from
            the header, before memory is taken.
    """
    try:
        with Image.open(file, formats=_available()) as image:
            _check_size(image)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except _DAMAGED as exc:
        raise ImageError(_reason(exc)) from exc


def _available() -> list[str]:
    Image.init()  # loads Pillow's readers; a build of Pillow may lack some
    return [name for name in FORMATS if name in Image.OPEN]


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > PIXEL_LIMIT:
        raise ImageError(
            f"it has {image.width}x{image.height} pixels, more than {PIXEL_LIMIT} in all"
        )


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "it is not an image, whatever its name says"
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {PIXEL_LIMIT} pixels"
    if isinstance(exc, FileNotFoundError):
        return "it is gone"
    return str(exc) or type(exc).__name__
