"""One file's bytes to one upright picture, and nothing worse than a PictureError on the way."""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from wgan.errors import PictureError

ENDINGS = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""The endings of files that are taken for pictures, in lower case."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for. Its other readers are older, and one of them starts programs."""

PIXEL_LIMIT = 2**26
"""A picture of more pixels than this is refused: decoded it would take over 256 MiB."""

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


def is_picture_name(name: str) -> bool:
    """Whether a file of this name is taken for a picture: by its ending, and not hidden."""
    stem, dot, ending = name.rpartition(".")
    if dot + ending.lower() not in ENDINGS:
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in stem.split("/"))


def decode(file: BinaryIO | Path) -> Image.Image:
    """Decode the picture in `file`: its first frame, turned upright as its EXIF data says.

    Raises:
        PictureError: it is damaged, no picture, or larger than PIXEL_LIMIT. The last is told from
            the header, before memory is taken.
    """
    try:
        with Image.open(file, formats=_available()) as picture:
            _check_size(picture)
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            return picture
    except _DAMAGED as exc:
        raise PictureError(_reason(exc)) from exc


def _available() -> list[str]:
    Image.init()  # loads Pillow's readers; a build of Pillow may lack some
    return [name for name in FORMATS if name in Image.OPEN]


def _check_size(picture: Image.Image) -> None:
    if picture.width * picture.height > PIXEL_LIMIT:
        raise PictureError(
            f"it has {picture.width}x{picture.height} pixels, more than {PIXEL_LIMIT} in all"
        )


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "it is not a picture, whatever its name says"
    if isinstance(exc, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {PIXEL_LIMIT} pixels"
    if isinstance(exc, FileNotFoundError):
        return "it is gone"
    return str(exc) or type(exc).__name__
