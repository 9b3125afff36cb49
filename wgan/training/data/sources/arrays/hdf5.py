"""HDF5 files (`.h5`, `.hdf5`), read image by image: arrays, or the bytes of image files."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, ImageError, needs_extra
from wgan.files import why_unreadable
from wgan.text import plural
from wgan.training.data.sources import ImageSource, fingerprint_files
from wgan.training.data.sources.arrays import StackSource
from wgan.training.data.sources.arrays.choice import (
    SingleImages,
    choose_arrays,
    find_single_images,
)
from wgan.training.data.sources.arrays.hdf5_virtual import check_virtual
from wgan.training.data.sources.arrays.layout import layout_of
from wgan.training.data.sources.encoded import EncodedSource, known_ending
from wgan.training.data.sources.labelling import (
    NO_CLASSES,
    Classes,
    classes_of_column,
    classes_of_folders,
)
from wgan.training.data.sources.left_out import listed

FIRST = 16
"""Values of a data set that tell whether they are image files."""


def open_hdf5(path: Path, key: str = "") -> ImageSource:
    """Open an HDF5 file: its data set `key`, the one with a usual name, or one for each image.

    A data set may hold arrays, or image files: lists of bytes of any length, or opaque values.

    Raises:
        DataError: it is damaged, or which data set has the images is unclear.
        MissingExtra: h5py is not installed.
    """
    with needs_extra("hdf5", purpose=f"the HDF5 file {path}"):
        import h5py
    try:
        file = h5py.File(path, "r")
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item} if _is_read(item) else {}))
        links = _external_links(file)
        if links and not found:
            raise DataError(
                f"the HDF5 file {path} holds only {links}: give the file that has the images"
            )
        source = _open_found(path, found, key)
    except (OSError, RuntimeError, KeyError, ValueError) as exc:
        raise DataError(f"{path} {why_unreadable(exc, 'is damaged or no HDF5 file')}") from exc
    source.unused += (links,) if links else ()
    return source


def _open_found(path: Path, found: dict[str, Any], key: str) -> ImageSource:
    """Open the data sets of a file that hold the images. Raises DataError."""
    types = {name: (item.shape or (), item.dtype) for name, item in found.items()}
    # Files with a data set for each image are common, also for spectrograms and bands first.
    singles = SingleImages() if key else find_single_images(types, allow_ambiguous=True)
    names = singles.images
    if names:
        check_virtual(path, {name: found[name] for name in (*names, *singles.labels)})
        layout = layout_of((len(names), *types[names[0]][0]), types[names[0]][1], str(path))
        array = _DataSets([found[name] for name in names])
        classes = singles.classes(lambda name: found[name][()])
        return StackSource(path, array, layout, classes, singles.unused, member="all")
    if not key and _may_be_single_files(found):
        check_virtual(path, found)
        if _is_file(next(iter(found.values()))):
            members = list(found)
            return FilesSource(path, list(found.values()), members, classes_of_folders(members))
    files = [name for name in found if _holds_files(found[name])]
    images, labels, unused = choose_arrays(types, key.strip("/"), str(path), files)
    check_virtual(path, {name: found[name] for name in (images, labels) if name})
    classes = NO_CLASSES
    if labels:
        title = f"labels in the data set {labels}"
        classes = classes_of_column(np.asarray(found[labels]), title=title)
    if images in files:
        numbers = [f"image {k}" for k in range(len(found[images]))]
        return FilesSource(path, found[images], numbers, classes, unused, images)
    layout = layout_of(*types[images], f"{path}, data set {images},")
    return StackSource(path, found[images], layout, classes, unused, images)


def _external_links(file: Any) -> str:
    """Return a phrase that names the links to other files, which h5py skips; empty for none."""
    import h5py

    found: list[str] = []

    def visit(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink):
            found.append(f"{name} to {link.filename}:{link.path}")

    file.visititems_links(visit)
    if not found:
        return ""
    return f"{plural(len(found), 'link')} to other files, which are not followed ({listed(found)})"


class _DataSets:
    """Data sets of one image each, as an array `[n, ...]`."""

    def __init__(self, sets: Sequence[Any]) -> None:
        self._sets = sets
        self.shape = (len(sets), *sets[0].shape)

    def __getitem__(self, index: int | slice) -> npt.NDArray[np.generic]:
        if isinstance(index, slice):
            return np.stack([np.asarray(each) for each in self._sets[index]])
        return np.asarray(self._sets[index])


class FilesSource(EncodedSource):
    """Image files in an HDF5 file: the values of one data set, or a data set for each."""

    def __init__(
        self,
        path: Path,
        values: Sequence[Any],
        names: Sequence[str],
        classes: Classes,
        unused: tuple[str, ...] = (),
        member: str = "all",
    ) -> None:
        """`names` are those of the images in messages, `member` says what of the file this is."""
        super().__init__(path.name.partition(".")[0] or "images")
        self._path, self._values, self._names, self._member = path, values, names, member
        self.labels, self.class_names, self.why_no_classes = classes
        self.unused = unused

    def __len__(self) -> int:
        return len(self._names)

    def image_name(self, index: int) -> str:
        """Path of the HDF5 file, and the data set or the index."""
        return f"{self._path}, {self._names[index]}"

    def fingerprint(self) -> str:
        """Name, size and modification time of the file, and the data set in it."""
        return f"{fingerprint_files([self._path])} files {self._member}"

    def _read(self, index: int) -> bytes:
        try:
            value = self._values[index]
        except OSError as exc:  # a damaged block
            raise ImageError(f"it cannot be read: {exc}") from exc
        if isinstance(value, np.bytes_):  # without the zeros at its end, which a BMP may need
            longest: int = getattr(self._values, "dtype", value.dtype).itemsize
            return value.ljust(longest, b"\0")
        return _file_bytes(value)


def _may_be_single_files(found: dict[str, Any]) -> bool:
    """Whether each data set can be one image file: an array of bytes, or an opaque value."""
    return len(found) > 1 and all(
        (item.ndim == 1 and item.dtype == np.uint8) or (item.ndim == 0 and item.dtype.kind == "V")
        for item in found.values()
    )


def _holds_files(item: Any) -> bool:
    """Whether the values of a data set are image files, as far as the first ones tell."""
    listed = (item.dtype.metadata or {}).get("vlen")  # the type of what lists of any length hold
    is_bytes = listed in (np.uint8, np.int8) if listed else item.dtype.kind in "SV"
    return item.ndim == 1 and is_bytes and any(_is_file(value) for value in item[:FIRST])


def _is_file(value: Any) -> bool:
    with contextlib.suppress(OSError):
        start = _file_bytes(value)[:16]
        # A text may begin as an image file does: BMW.
        return known_ending(start) is not None and not start.rstrip(b"\0").isalnum()
    return False


def _file_bytes(value: Any) -> bytes:
    """Return the bytes of a data set, or of a value of one."""
    return np.asarray(value).tobytes()


def _is_read(item: Any) -> bool:
    """Whether an object of HDF5 is a data set of a type that NumPy has; times are none."""
    import h5py

    try:
        return isinstance(item, h5py.Dataset) and item.dtype is not None
    except TypeError:
        return False
