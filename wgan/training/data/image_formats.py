"""Formats of image files: which extensions are read here, and by which of Pillow's readers."""

import contextlib
import functools
import threading

from PIL import Image

HEIF_ENDINGS = frozenset({".heic", ".heics", ".heif", ".hif"})
"""Extensions of HEIF images, which pillow-heif reads."""

ENDINGS = frozenset({
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe",
    ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif",
    ".tiff", ".webp",
})  # fmt: skip
"""Extensions of images that Pillow reads, in lower case."""

JPEG_ENDINGS = frozenset({".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"})

FRAMED_ENDINGS = frozenset(
    {".gif", ".tif", ".tiff", ".webp", ".png", ".apng", ".avif"} | HEIF_ENDINGS | JPEG_ENDINGS
)
"""Extensions of files that can hold several images: a JPEG as MPO, of cameras for 3D."""

PILLOW_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF"),
    "WEBP",
)
"""Pillow's readers that are used. The others are old, and the one for EPS starts Ghostscript."""


_IMPORTING = threading.Lock()


@functools.cache
def readers() -> tuple[str, ...]:
    """Names of the readers of PILLOW_FORMATS that are installed."""
    # If an import fails, as for lack of open files, Python gives the unfinished module to the
    # threads that wait for it.
    with _IMPORTING, contextlib.suppress(ImportError):  # an extra
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()  # some builds of Pillow lack some readers
    return tuple(name for name in PILLOW_FORMATS if name in Image.OPEN)


def ending_of(name: str) -> str:
    """Return the extension of a file name with its dot, in lower case; empty without one."""
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if stem and dot else ""


def is_hidden(name: str) -> bool:
    """Whether a path has a part that systems hide."""
    parts = [part for part in name.split("/") if part not in (".", "..")]  # as in a tar
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def is_image_name(name: str) -> bool:
    """Whether a file name has the extension of an image that is read here, and is not hidden."""
    ending = ending_of(name)
    if ending not in ENDINGS | HEIF_ENDINGS or is_hidden(name):
        return False
    return not why_unread(ending)


def why_unread(ending: str) -> str:
    """Return what is missing to read images of an extension; empty if nothing is."""
    if ending in HEIF_ENDINGS and "HEIF" not in readers():
        return "install their reader with  pip install 'wgan[heif]'"
    if ending == ".avif" and "AVIF" not in readers():
        return "this Pillow reads no AVIF: install a newer one with  pip install -U pillow"
    return ""
