"""HDF5 files (`.h5`, `.hdf5`): a data set of many images, read one by one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, needs_extra
from wgan.files import is_refused, why_unreadable
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.arrays import StackSource
from wgan.training.data.sources.arrays.layout import are_single_images, choose_arrays, layout_of
from wgan.training.data.sources.labelling import NO_CLASSES, classes_of_column, classes_of_folders


def open_hdf5(path: Path, key: str = "") -> ImageSource:
    """Open an HDF5 file: its data set `key`, the one with a usual name, or one for each image.

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
        types = {name: (item.shape or (), item.dtype) for name, item in found.items()}
        if not key and are_single_images(types):
            names = list(found)
            layout = layout_of((len(names), *types[names[0]][0]), types[names[0]][1], str(path))
            array = _DataSets([found[name] for name in names])
            return StackSource(path, array, layout, classes_of_folders(names), member="all")
        images, labels, unused = choose_arrays(types, key.strip("/"), str(path))
        layout = layout_of(*types[images], f"{path}, data set {images},")
        classes = NO_CLASSES
        if labels:
            title = f"labels in the data set {labels}"
            classes = classes_of_column(np.asarray(found[labels]), title=title)
    except (OSError, RuntimeError, KeyError, ValueError) as exc:
        if is_refused(exc):
            raise DataError(f"the HDF5 file {path} {why_unreadable(exc)}") from exc
        raise DataError(f"{path} is damaged or no HDF5 file: {exc}") from exc
    return StackSource(path, found[images], layout, classes, unused, images)


class _DataSets:
    """Data sets of one image each, as an array `[n, ...]`."""

    def __init__(self, sets: Sequence[Any]) -> None:
        self._sets = sets
        self.shape = (len(sets), *sets[0].shape)

    def __getitem__(self, index: int | slice) -> npt.NDArray[np.generic]:
        if isinstance(index, slice):
            return np.stack([np.asarray(each) for each in self._sets[index]])
        return np.asarray(self._sets[index])


def _is_read(item: Any) -> bool:
    """Whether an object of HDF5 is a data set of a type that NumPy has; times are none."""
    import h5py

    try:
        return isinstance(item, h5py.Dataset) and item.dtype is not None
    except TypeError:
        return False
