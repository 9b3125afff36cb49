"""TIFF: pages, and the bands and types that Pillow cannot read, by tifffile."""

from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from wgan.errors import ImageError, needs_extra
from wgan.training.data.sources import RawImage
from wgan.training.data.sources.arrays.layout import MAX_BANDS

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of a TIFF, of either byte order and size."""

MAX_PAGES = 100_000

ALPHA_SHARE = 0.5
"""A fourth band with fewer clear and opaque pixels than this share of all is no alpha."""

WHITE_IS_ZERO = 0
"""The photometric interpretation of grey images whose value 0 is white."""

_UNSIGNED, _SIGNED = 1, 2

_WEBP = 50001  # a compression

_UNREAD_COLOURS = {3: "a palette", 5: "CMYK", 8: "Lab", 9: "Lab", 10: "Lab"}
"""Photometric interpretations whose bands tifffile does not convert to colours."""

_COLOURS = {0: 1, 1: 1, 2: 3}
"""Bands of the photometric interpretations grey (white or black is 0) and RGB."""


class Page(NamedTuple):
    """What the directory of a page says."""

    number: int  # among all, smaller copies included
    width: int
    height: int
    bands: int
    bits: int  # of a value
    kind: int  # unsigned, signed, floating point
    photometric: int
    extra: int  # of the last band: 0 unspecified, 1 or 2 alpha; -1 no extra band
    is_reduced: bool  # a smaller copy of another page
    orientation: int  # 1 upright, others as in EXIF
    only_tifffile: bool  # Pillow reads nothing of it: a big-endian BigTIFF, or compressed as WebP

    @property
    def says_alpha(self) -> bool:
        """Whether the last band is marked as alpha."""
        return self.extra in (1, 2)

    @property
    def is_uint32(self) -> bool:
        """Whether it is one band of unsigned 32-bit integers."""
        return (self.bands, self.bits, self.kind) == (1, 32, _UNSIGNED)


def read_pages(file: BinaryIO) -> list[Page]:
    """Read the directories of a TIFF, without the smaller copies that pyramids hold.

    Raises what Pillow does for damaged files.
    """
    pages: list[Page] = []
    file.seek(0)
    start = file.read(16)
    only_tifffile = start.startswith(b"MM\0+")
    if only_tifffile:  # Pillow finds the + of a BigTIFF in the place of little-endian ones only
        directory = ImageFileDirectory_v2(b"II+\0" + start[4:], prefix=b"MM")
    else:
        directory = ImageFileDirectory_v2(start[: 16 if start[2:3] == b"+" else 8])
    offset = directory.next
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        directory.load(file)
        pages.append(_page(len(seen) - 1, directory, only_tifffile))
        offset = directory.next
    whole = [page for page in pages if not page.is_reduced]
    return whole or pages


def _page(number: int, tags: ImageFileDirectory_v2, only_tifffile: bool) -> Page:
    def first(tag: int, default: int) -> int:
        value: Any = tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    extra: Any = tags.get(338, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    return Page(
        number=number,
        width=first(256, 0),
        height=first(257, 0),
        bands=first(277, 1),
        bits=first(258, 1),
        kind=first(339, _UNSIGNED),
        photometric=first(262, 0),
        extra=int(extra[-1]) if extra else -1,
        is_reduced=bool(first(254, 0) & 1),
        orientation=first(274, 1),
        only_tifffile=only_tifffile or first(259, 1) == _WEBP,
    )


def needs_tifffile(page: Page) -> bool:
    """Whether Pillow cannot read a page, or would drop bits or bands of it."""
    if page.only_tifffile:
        return True
    if page.bands == 1:
        return (page.bits, page.kind) in {(8, _SIGNED), (64, _UNSIGNED), (64, _SIGNED)}
    if page.photometric not in _COLOURS:  # CMYK and the like
        return False
    extra = page.bands - _COLOURS[page.photometric]
    return page.bits > 8 or extra > 1 or (extra == 1 and not page.says_alpha)


def read_bands(file: BinaryIO, page: Page) -> npt.NDArray[np.generic]:
    """Read a page by tifffile, upright: `[height, width, bands]`.

    Raises:
        ImageError: it is damaged, or of a kind that is not read.
        MissingExtra: tifffile is not installed.
    """
    if page.bands > MAX_BANDS:
        raise ImageError(f"it has {page.bands} bands, more than {MAX_BANDS}")
    if page.photometric in _UNREAD_COLOURS:
        raise ImageError(
            f"it is a TIFF of {_UNREAD_COLOURS[page.photometric]} in a compression or byte order"
            " that Pillow does not read: convert it to RGB"
        )
    with needs_extra("tiff", purpose=f"a TIFF of {page.bands} bands of {page.bits} bits"):
        import tifffile
    file.seek(0)
    try:
        with tifffile.TiffFile(file) as tiff:
            values = np.asarray(tiff.pages[page.number].asarray())
    except (tifffile.TiffFileError, AttributeError, AssertionError) as exc:
        raise ImageError(f"it is damaged: {exc}") from exc
    # Bands lie in the last axis, or in planes.
    if values.shape == (page.bands, page.height, page.width) and page.bands > 1:
        values = values.transpose(1, 2, 0)
    values = values.reshape(page.height, page.width, page.bands)
    if values.dtype.kind not in "uifb":
        raise ImageError(f"it has {values.dtype} values")
    if page.bands == 1 and page.photometric == WHITE_IS_ZERO:
        values = invert(values, page)
    return _turn_upright(values, page.orientation)


def invert(values: npt.NDArray[np.generic], page: Page) -> npt.NDArray[np.generic]:
    """Return values of which 0 is white so that 0 is black; only unsigned ones have a white."""
    if values.dtype.kind == "b":
        return np.asarray(np.logical_not(values))
    if values.dtype.kind != "u":
        return values
    white = np.array((1 << page.bits) - 1, values.dtype)
    return np.asarray(np.subtract(white, values))


def _turn_upright(values: npt.NDArray[np.generic], orientation: int) -> npt.NDArray[np.generic]:
    """Undo an orientation, as Pillow's exif_transpose does; 1 and unknown ones change nothing."""
    if orientation in (5, 6, 7, 8):  # rows are stored as columns
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    return np.ascontiguousarray(values)


def with_alpha(bands: npt.NDArray[np.generic]) -> RawImage:
    """Return bands whose last one is alpha as an image of 8 bits; others than LA and RGBA stay."""
    if bands.dtype.kind != "u" or bands.shape[2] not in (2, 4):
        return bands
    upper = bands >> np.array(8 * (bands.dtype.itemsize - 1), bands.dtype)  # as Pillow does
    return Image.fromarray(upper.astype(np.uint8), "LA" if bands.shape[2] == 2 else "RGBA")


def extremes(fourth: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Return which pixels of a fourth band would be exactly clear or opaque if it were alpha."""
    bits = 8 * fourth.dtype.itemsize - (fourth.dtype.kind == "i")
    opaque = (1 << bits) - 1 if fourth.dtype.kind in "ui" else 255
    return np.isin(fourth, np.array([0, opaque], fourth.dtype))


def is_alpha(extreme: npt.NDArray[np.bool_]) -> bool:
    """Whether a band that a file marks as alpha is one: mostly clear and opaque pixels.

    Programs mark any fourth band so, such as near infrared.

    Args:
        extreme: the `extremes` of the band.
    """
    return bool(extreme.mean() >= ALPHA_SHARE)
