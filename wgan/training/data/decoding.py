"""Decode image files: one safely, and all images of a source in threads."""

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from wgan.errors import DataError, ImageError, MissingExtra
from wgan.files import LFS_START, lacks_open_files
from wgan.host import usable_cores
from wgan.images import Pixels
from wgan.parallel import Item, Result, ordered_map
from wgan.progress import ProgressFn
from wgan.training.data.image_formats import readers
from wgan.training.data.sources import FILE_WHITE, ImageSource, Labels, RawImage, wrap_array
from wgan.training.data.sources.arrays.layout import as_image
from wgan.training.data.tiff import (
    STARTS,
    WHITE_IS_ZERO,
    extremes,
    invert,
    is_alpha,
    needs_tifffile,
    read_bands,
    read_pages,
    with_alpha,
)
from wgan.training.data.transform import Transform

PIXEL_LIMIT = 2**26
"""Images of more pixels are rejected: decoded they would take over 256 MiB."""

DAMAGED_LIMIT = 0.01
"""The share of images that may be damaged without `allow_damaged`."""

_NUMPY = b"\x93NUMPY"  # the start of a .npy file

_COLOUR_MODES = ("RGB", "RGBA", "RGBX", "LA")

_GREY_AND_ALPHA = "LA;16B"
"""What Pillow calls grey and alpha of 16 bits in a PNG."""

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


def decode(file: BinaryIO | Path, frame: int = 0, alpha: bool | None = None) -> RawImage:
    """Decode an image of `file`, upright according to its EXIF orientation.

    Args:
        file: an image file of any format that is read, or a `.npy` file of one image.
        frame: the number of its frame or page.
        alpha: whether a fourth band of a TIFF that is marked as alpha is alpha; None: by its
            values.

    Raises:
        ImageError: it is damaged, no image, larger than PIXEL_LIMIT, or its reader is missing. The
            size is read from the header, before memory is allocated.
    """
    with _reasons(), _opened(file) as stream:
        start = stream.read(len(LFS_START))
        stream.seek(0)
        if not start:
            raise ImageError("it is empty")
        if start == LFS_START:
            raise ImageError("it is a git-lfs pointer, not an image: run  git lfs pull")
        if start.startswith(_NUMPY):
            return _decode_array(stream)
        if start.startswith(STARTS):
            return _decode_tiff(stream, frame, alpha)
        image = _decode_pillow(stream, frame)
        if image.format == "PNG" and FILE_WHITE in image.info:
            return _all_sixteen_bits(stream, image)
        return image


def alpha_extremes(file: BinaryIO | Path) -> npt.NDArray[np.bool_] | None:
    """Return the `extremes` of the fourth band of a TIFF, `[pixels]`; None if none is marked alpha.

    Raises:
        ImageError: as for `decode`.
    """
    with _reasons(), _opened(file) as stream:
        pages = read_pages(stream) if stream.read(4) in STARTS else []
        if not pages or pages[0].bands != 4 or not pages[0].says_alpha:
            return None
        bands = _decode_tiff(stream, 0, alpha=False)
        return extremes(np.asarray(bands)[..., 3]).reshape(-1)


def count_frames(file: BinaryIO | Path) -> int:
    """Return the number of frames or pages of an image file; 1 if it is damaged."""
    try:
        with _opened(file) as stream:
            start = stream.read(4)
            stream.seek(0)
            if start.startswith(STARTS):
                return len(read_pages(stream))
            with Image.open(stream, formats=readers()) as image:
                return _count_mpo(image) if image.format == "MPO" else _n_frames(image)
    except _DAMAGED as exc:
        if lacks_open_files(exc):
            raise
        return 1


def _n_frames(image: Image.Image) -> int:
    return int(getattr(image, "n_frames", 1))


def _count_mpo(image: Image.Image) -> int:
    """Count the frames of an MPO up to the first of another size.

    Phones store previews and gain maps of a photograph in this format.
    """
    size = image.size
    with suppress(ValueError):  # a damaged frame; reported when it is decoded
        for frame in range(1, _n_frames(image)):
            image.seek(frame)
            if image.size != size:
                return frame
    return _n_frames(image)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what readers raise for damaged files into ImageError."""
    try:
        yield
    except _DAMAGED as exc:
        if lacks_open_files(exc):  # no fault of the image: it must not be left out
            raise
        raise ImageError(_reason(exc)) from exc


@contextmanager
def _opened(file: BinaryIO | Path) -> Iterator[BinaryIO]:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            yield stream
    else:
        yield file


def _decode_array(stream: BinaryIO) -> RawImage:
    array = np.lib.format.read_array(stream, allow_pickle=False)
    return wrap_array(as_image(array))


def _decode_tiff(stream: BinaryIO, frame: int, alpha: bool | None) -> RawImage:
    pages = read_pages(stream)
    if frame >= len(pages):
        raise ImageError(f"it has no page {frame}, only {len(pages)}")
    page = pages[frame]
    _check_size(page.width, page.height)
    missing = None
    if needs_tifffile(page):
        try:
            bands = read_bands(stream, page)
        except MissingExtra as exc:  # Pillow reads the upper 8 bits of some
            if page.only_tifffile:
                raise ImageError(str(exc)) from exc
            missing = exc
        else:
            if not page.says_alpha or (page.bands == 4 and not _is_alpha(bands, alpha)):
                return wrap_array(bands)
            if page.only_tifffile:
                return with_alpha(bands)
    stream.seek(0)
    try:
        image = _decode_pillow(stream, page.number)
    except UnidentifiedImageError as exc:
        if missing:
            raise ImageError(str(missing)) from exc
        try:
            bands = read_bands(stream, page)  # such as 64 bits, or a rare compression
        except MissingExtra as missing_too:
            raise ImageError(str(missing_too)) from exc
        is_packed = page.bands == 1 and 8 < page.bits < 16
        return _all_bits(bands[..., 0], page.bits) if is_packed else wrap_array(bands)
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        is_inverted = page.photometric == WHITE_IS_ZERO  # Pillow inverts 8 bits only
        values = invert(values, page) if is_inverted else values
        if page.bits < 16:
            return _all_bits(values, page.bits)
        return wrap_array(values) if is_inverted else image
    if image.mode == "I" and page.is_uint32:
        unsigned = values.view(np.uint32)  # Pillow's are signed
        return wrap_array(unsigned) if unsigned.max() > 65535 else image
    if image.mode == "RGBA" and page.says_alpha and not _is_alpha(values, alpha):
        return values
    return image


def _all_bits(values: npt.NDArray[np.generic], bits: int) -> Image.Image:
    """Return values of fewer than 16 bits, such as packed ones of 12, as those of 16."""
    white = (1 << bits) - 1
    image = Image.fromarray(np.rint(values.astype(np.float64) * (65535 / white)).astype(np.uint16))
    image.info[FILE_WHITE] = white
    return image


def _is_alpha(bands: npt.NDArray[np.generic], alpha: bool | None) -> bool:
    return is_alpha(extremes(bands[..., 3])) if alpha is None else alpha


def _decode_pillow(stream: BinaryIO, frame: int) -> Image.Image:
    with Image.open(stream, formats=readers()) as image:
        if frame:
            image.seek(frame)
        _check_size(*image.size)
        white = _file_white(image)
        is_grey = _is_grey_and_alpha(image)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        info = {**image.info, FILE_WHITE: white} if white else image.info
        whole = image.convert("LA") if is_grey else image  # Pillow reads it as colour
        whole.info = info
        return whole


def _is_grey_and_alpha(image: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded yet is a PNG of grey and alpha of 16 bits."""
    return image.format == "PNG" and bool(image.tile) and image.tile[0].args == _GREY_AND_ALPHA


def _file_white(image: ImageFile.ImageFile) -> int:
    """Return the value that a file has for white if Pillow will scale its values, else 0."""
    if image.mode in _COLOUR_MODES and ";16" in str(image.tile):  # it keeps the upper 8 bits
        return 65535
    decoder, *_, settings = image.tile[0] if image.tile else ("", ())
    if decoder in ("ppm", "ppm_plain") and isinstance(settings, tuple):  # of any maxval
        return int(settings[-1])
    return 0


def _is_turned(stream: BinaryIO) -> bool:
    """Whether EXIF says that an image is not upright."""
    stream.seek(0)
    with Image.open(stream, formats=readers()) as image:
        return bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)


def _all_sixteen_bits(stream: BinaryIO, image: Image.Image) -> RawImage:
    """Read a colour PNG again with all 16 bits, if imagecodecs is installed; else return `image`.

    With transparency, or if it was turned upright, Pillow's 8 bits are kept.
    """
    if image.mode != "RGB" or image.has_transparency_data or _is_turned(stream):
        return image
    try:
        import imagecodecs
    except ModuleNotFoundError:
        return image
    stream.seek(0)
    try:
        return wrap_array(np.asarray(imagecodecs.png_decode(stream.read())))
    except RuntimeError:  # libpng is stricter than Pillow, which has read it
        return image


def _check_size(width: int, height: int) -> None:
    if width * height > PIXEL_LIMIT:
        raise ImageError(f"it has {width}x{height} pixels, more than {PIXEL_LIMIT} in all")


def _reason(exc: BaseException) -> str:
    if isinstance(exc, UnidentifiedImageError):
        return "it is not an image of a format that is read"
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
                pixels.append(transform(source.image(index, transform.drawn_size)))
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


def good_labels(source: ImageSource, skipped: Iterable[Skipped]) -> Labels | None:
    """Labels of the images of `source` that are not in `skipped`, `[n]`; None without classes."""
    names = {item.name for item in skipped}
    if source.labels is None or not names:
        return source.labels
    good = [k for k in range(len(source)) if source.image_name(k) not in names]
    labels: Labels = source.labels[good]
    return labels


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
