"""Kinds of training data: their interface `ImageSource` here, each kind in a module."""

import abc
import bisect
import contextlib
import functools
import gzip
import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError
from wgan.files import open_regular
from wgan.images import evenly_spaced
from wgan.latents import Labels as Labels

PROBED_IMAGES = 16
"""Images examined to distinguish grey from colour data."""

DEFAULT_DRAWN_SIZE = 128
"""Height and width of drawn images where no size is given."""

GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Pillow's modes without colour. A palette (P) counts as colour."""

PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
"""Pillow's modes of which PNG holds all values."""

SAMPLED_FILES, SAMPLED_BLOCKS, BLOCK = 32, 16, 4096
"""A fingerprint reads 16 blocks of 4,096 bytes from up to 32 files."""

FILE_WHITE = "wgan.file_white"
"""Key in `info` of a Pillow image: the value that its file has for white, where Pillow scales the
values: 65535 if it holds the upper 8 of 16 bits for each colour, or the maxval of a PGM."""


T = TypeVar("T")

RawImage = Image.Image | npt.NDArray[np.generic]
"""An image as its source has it: a Pillow image, or an array `[height, width, bands]` whose bands
have no meaning of their own: none of them is alpha."""


def locate(ends: Sequence[int], index: int) -> tuple[int, int]:
    """Return the part that holds an image, and its index there; `ends` are those of the parts."""
    part = bisect.bisect_right(ends, index)
    return part, index - (ends[part - 1] if part else 0)


def count_classes(labels: Labels | None, class_names: tuple[str, ...]) -> tuple[int, ...]:
    """Return the number of images of each class; empty without classes. Label -1 is none."""
    if labels is None:
        return ()
    return tuple(np.bincount(labels[labels >= 0], minlength=len(class_names)).tolist())


class ImageSource(abc.ABC):
    """Images by index, and their classes if the data has some. All methods are thread-safe."""

    labels: Labels | None = None
    """Class of each image, `[n]`, damaged ones included; None where the data has no classes."""

    class_names: tuple[str, ...] = ()
    """Name of each class; the label is the index here."""

    why_no_classes: str = ""
    """Why the data has no classes, as a clause for the user; empty if unknown."""

    left_out: int = 0
    """Number of other files among the images: hidden ones, or of another extension."""

    unused: tuple[str, ...] = ()
    """What else the data holds and why it is not used, as phrases for the user."""

    splits: str = ""
    """Which splits of the data are all used and how to take one, for the user; empty if none."""

    can_be_surveyed: bool = True
    """Whether a summary of the data tells the user something: not of images that wgan draws."""

    reads_forward: bool = False
    """Whether reading is fast only in order."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Short name for run folders: `"glyphs"`, or the last part of a folder's path."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of images, including damaged ones."""

    @property
    def count(self) -> int:
        """Number of images, as `Shards.count`, which may be None."""
        return len(self)

    @abc.abstractmethod
    def image_name(self, index: int) -> str:
        """Name of image `index` in messages."""

    @abc.abstractmethod
    def image(self, index: int, size: int) -> RawImage:
        """Return image `index`, upright and fully decoded, in its own mode or type.

        Args:
            index: from 0 to `len(self) - 1`.
            size: longer side of the training pixels; drawn images are squares of this side.

        Raises:
            ImageError: it is damaged or cannot be used.
        """

    def some_indices(self, most: int) -> list[int]:
        """Return at most `most` indices: evenly spaced, or the first if it is read forward."""
        count = min(most, len(self))
        return list(range(count)) if self.reads_forward else sampled(range(len(self)), count)

    def shuffled(self, random: np.random.RandomState) -> list[int]:
        """Return all indices in a random order, or in theirs if it is read forward."""
        count = len(self)
        return list(range(count)) if self.reads_forward else random.permutation(count).tolist()

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return the file of image `index` and its extension, as in `"png"`.

        Raises:
            ImageError: it cannot be read. It is not decoded yet.
        """
        buffer = io.BytesIO()
        image = _for_file(self.image(index, DEFAULT_DRAWN_SIZE))
        if isinstance(image, np.ndarray):
            np.save(buffer, image, allow_pickle=False)  # any type and number of bands
            return buffer.getvalue(), "npy"
        image.save(buffer, "PNG")
        return buffer.getvalue(), "png"

    def ending(self, index: int) -> str:
        """Extension of the file of image `index`, as `.png`; empty for data of another kind."""
        return ""

    @property
    def formats(self) -> Mapping[str, int]:
        """Number of images by the extension of their files; empty for data of another kind."""
        return Counter(filter(None, map(self.ending, range(len(self)))))

    def frame_counts(self, limit: int) -> list[int]:
        """Frames or pages in some of the files, at most `limit`, of which the first is used."""
        return []

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Cheap identity of the contents: equal while the images stay the same."""

    @property
    def channels(self) -> int:
        """Channels that suit the data, by some of its images: see `suitable_channels`.

        They are those of `some_indices`.
        """
        return suitable_channels(
            functools.partial(self.image, index, DEFAULT_DRAWN_SIZE)
            for index in self.some_indices(PROBED_IMAGES)
        )


class ArraySource(ImageSource):
    """Images in an array: `[n, height, width]` or `[n, height, width, bands]`."""

    def __init__(
        self,
        name: str,
        array: npt.NDArray[np.generic],
        labels: Labels | None = None,
        class_names: tuple[str, ...] = (),
        why_no_classes: str = "",
    ) -> None:
        super().__init__(name)
        self._array = array
        self.labels, self.class_names = labels, class_names
        self.why_no_classes = why_no_classes

    def __len__(self) -> int:
        return len(self._array)

    def image_name(self, index: int) -> str:
        """Name of the data and index of the image."""
        return f"{self.name}, image {index}"

    def image(self, index: int, size: int) -> RawImage:
        """Wrap the values of the image."""
        return wrap_array(self._array[index])

    def fingerprint(self) -> str:
        """SHA-256 of all values."""
        return hashlib.sha256(np.ascontiguousarray(self._array).data).hexdigest()


def wrap_array(values: npt.NDArray[np.generic]) -> RawImage:
    """Return the values of an image, `[height, width]` or with bands, as a source returns them.

    Grey and colours of 8 bits become a Pillow image, other values stay an array with bands.
    """
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype == np.uint8 and (values.ndim == 2 or values.shape[2] == 3):
        return Image.fromarray(np.ascontiguousarray(values))
    return values if values.ndim == 3 else values[:, :, None]


def _for_file(image: RawImage) -> RawImage:
    """Return an image as an array if PNG cannot hold its values, and in RGB if not its colours."""
    if isinstance(image, np.ndarray) or image.mode in PNG_MODES:
        return image
    if image.mode == "F":
        return np.asarray(image)[:, :, None]
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            return values[:, :, None]
        narrow = Image.fromarray(values.astype(np.uint16))
        narrow.info = image.info  # it names the transparent value
        return narrow
    try:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    except ValueError as exc:
        raise ImageError(f"its mode {image.mode} cannot be converted: {exc}") from exc


def file_values(image: Image.Image) -> npt.NDArray[np.generic]:
    """Return the values of an image as its file has them: see FILE_WHITE."""
    values = np.asarray(image)
    white = image.info.get(FILE_WHITE)
    if white is None:
        return values
    scale = white / (65535 if image.mode.startswith("I") else 255)
    return np.asarray(np.rint(values * scale).astype(np.uint16))


def open_unzipped(path: Path) -> IO[bytes]:
    """Open a file that may be gzipped, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if is_zipped else path.open("rb")


def fingerprint_files(paths: Sequence[Path]) -> str:
    """Hash of the names, sizes and modification times of files, and of a sample of their bytes."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        # names need not be UTF-8
        digest.update(os.fsencode(f"{path.name}\0{status.st_size} {status.st_mtime_ns}\n"))
    digest.update(hash_blocks(sampled(paths)))
    return digest.hexdigest()


def sampled(items: Sequence[T], most: int = SAMPLED_FILES) -> list[T]:
    """Return at most `most` of the items, evenly spaced."""
    return [items[index] for index in evenly_spaced(len(items), min(most, len(items))).tolist()]


def hash_blocks(paths: Iterable[Path]) -> bytes:
    """Return a hash of evenly spaced blocks of files.

    Files that were unpacked together can have equal names, sizes and times, and other contents.
    A file that cannot be read has no blocks: it is reported when it is decoded.
    """
    digest = hashlib.sha256()
    for path in paths:
        with contextlib.suppress(OSError), open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            for start in sampled(range(size), SAMPLED_BLOCKS):
                file.seek(start)
                digest.update(file.read(BLOCK))
    return digest.digest()


def suitable_channels(images: Iterable[Callable[[], RawImage]]) -> int:
    """Return 1 if all good images are grey, the number of bands if all have 2 or over 4, else 3.

    Of four bands the first three are taken for colours.

    Each argument is a function that opens an image; those that raise ImageError are ignored.
    """
    found = set()
    for open_image in images:
        with contextlib.suppress(ImageError):  # reported when all images are loaded
            found.add(_bands(open_image()))
    return found.pop() if len(found) == 1 else 3


def image_size(image: RawImage) -> tuple[int, int]:
    """Return the width and height of an image."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    return image.size


def _bands(image: RawImage) -> int:
    if isinstance(image, np.ndarray):
        return 3 if image.shape[2] == 4 else image.shape[2]
    return 1 if image.mode in GREY_MODES else 3
