"""NumPy files of many images: `.npy`, memory-mapped, `.npz`, and folders of `.npy`."""

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from wgan.errors import DataError
from wgan.files import is_lfs_pointer, why_unreadable
from wgan.training.data.image_formats import is_hidden
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.arrays import StackSource
from wgan.training.data.sources.arrays.choice import (
    FLAT,
    IMAGE_KEYS,
    ArrayType,
    SingleImages,
    choose_arrays,
    find_single_images,
)
from wgan.training.data.sources.arrays.layout import (
    MAX_COLOURS,
    find_layout,
    layout_of,
)
from wgan.training.data.sources.image_files import FolderSource
from wgan.training.data.sources.joined import join_sources
from wgan.training.data.sources.labelling import NO_CLASSES, Classes, classes_of_column
from wgan.training.data.sources.splits import choose_training_files, files_by_split


def open_npy(path: Path) -> ImageSource:
    """Open a `.npy` file of many images. Raises DataError."""
    with array_errors(path):
        array = np.lib.format.open_memmap(path, mode="r")
    return StackSource(path, array, layout_of(array.shape, array.dtype, str(path)))


def open_npz(path: Path, key: str = "") -> ImageSource:
    """Open a `.npz` file: its array `key`, or the one with a usual name. Raises DataError."""
    # Not np.load, which leaves a damaged file open.
    with array_errors(path), path.open("rb") as opened, NpzFile(opened) as file:
        types = {}
        assert file.zip is not None  # it is open
        for member in file.zip.namelist():
            if member.endswith(".npy") and not is_hidden(member):  # others are no arrays
                with file.zip.open(member) as opened_member:
                    types[member.removesuffix(".npy")] = _read_type(opened_member)
        singles = SingleImages() if key else find_single_images(types)
        if singles.images:
            stack = np.stack([file[name] for name in singles.images])
            layout = layout_of(stack.shape, stack.dtype, str(path))
            classes = singles.classes(lambda name: file[name][()])
            return StackSource(path, stack, layout, classes, singles.unused)
        images, labels, unused = choose_arrays(types, key, str(path))
        layout = layout_of(*types[images], f"{path}, array {images},")
        classes = _classes(labels, types, file.__getitem__)
        unused += (classes.reason,) if labels and types[labels][1].hasobject else ()
        return StackSource(path, file[images], layout, classes, unused, images)


def open_npy_folder(folder: Path, files: Sequence[str]) -> ImageSource:
    """Open the `.npy` files of a folder, given by their paths in it: one image in each, or many.

    If one has a usual name (`images.npy`, `x_train.npy`), it is used as an array of a `.npz` is,
    with the labels beside it.

    Raises:
        DataError: one is damaged, or holds no images.
    """
    types, paths = {}, {}
    for file in sorted(files):
        stem = file[: -len(".npy")]  # the extension may be in upper case
        name = file if stem in types else stem
        paths[name] = folder / file
        with array_errors(paths[name]), paths[name].open("rb") as opened:
            types[name] = _read_type(opened)
    if any(name.lower() in IMAGE_KEYS for name in types):
        images, labels, unused = choose_arrays(types, "", str(folder))
        path = paths[images]
        with array_errors(folder):
            array = np.lib.format.open_memmap(path, mode="r")
            classes = _classes(labels, types, lambda name: np.load(paths[name], allow_pickle=False))
        unused += (classes.reason,) if labels and types[labels][1].hasobject else ()
        layout = layout_of(*types[images], str(path))
        return StackSource(path, array, layout, classes, unused)
    if _are_single_images(list(types.values())):
        return FolderSource(folder, files, is_image=set(files).__contains__)
    # A category of Quick, Draw! is called train, so every file must be of a split.
    are_splits = "" not in files_by_split(list(types))
    names, unused = choose_training_files(list(types), ".npy") if are_splits else (types, ())
    return join_sources(folder, {name: open_npy(paths[name]) for name in names}, unused)


def _classes(
    name: str | None,
    types: Mapping[str, ArrayType],
    read: Callable[[str], npt.NDArray[np.generic]],
) -> Classes:
    """Return the classes of the array `name`, if there is one that is read."""
    if name is None:
        return NO_CLASSES
    if types[name][1].hasobject:
        return Classes(
            reason=f"the labels in the array {name} are Python objects, which are not read, because"
            " that would run their code: save them as numbers or texts, as with .astype(str)"
        )
    return classes_of_column(read(name), title=f"labels in the array {name}")


def _are_single_images(types: Sequence[ArrayType]) -> bool:
    """Whether each array is one image: not a row for each image, or an image for each row."""
    shapes = [shape for shape, _ in types]
    axes = {len(shape) for shape in shapes}
    if axes == {2}:
        rows, values = shapes[0]
        is_flat = (values in FLAT and rows != values) or len({rows for rows, _ in shapes}) > 1
        return not (is_flat and find_layout((values,)))
    found = [find_layout(shape) for shape in shapes]
    bands = {layout.bands for layout in found if layout}
    return axes == {3} and None not in found and len(bands) == 1 and not _are_stacks(shapes)


def _are_stacks(shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether arrays of three axes are grey images along the first one, and not bands of an image.

    As an image of more than MAX_COLOURS bands it would be longer than the images that it holds.
    """
    first, second, last = shapes[0]
    return MAX_COLOURS < last < first and _elongation(first, second) > _elongation(second, last)


def _elongation(height: int, width: int) -> float:
    return max(height, width) / max(1, min(height, width))


def _read_type(file: IO[bytes]) -> ArrayType:
    """Read the shape and type at the start of a `.npy` file. Raises ValueError, EOFError."""
    version = np.lib.format.read_magic(file)
    is_first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


@contextmanager
def array_errors(path: Path) -> Iterator[None]:
    """Turn what NumPy raises for a file that it cannot read into a DataError."""
    try:
        yield
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as exc:
        if is_lfs_pointer(path):
            raise DataError(f"the arrays {path} are a git-lfs pointer: run  git lfs pull") from exc
        if isinstance(exc, ValueError) and (
            "allow_pickle" in str(exc) or "Python objects" in str(exc)
        ):
            raise DataError(
                f"{path} holds Python objects, which are not read, because that would run their"
                " code: save plain arrays of numbers"
            ) from exc
        reason = why_unreadable(exc, "is damaged, or holds no NumPy arrays")
        raise DataError(f"{path} {reason}") from exc
