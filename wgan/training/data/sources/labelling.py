"""Classes of images: from a column of labels, subfolders, `dataset.json`, and `.cls` files."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wgan.errors import ImageError
from wgan.text import plural
from wgan.training.data.image_formats import is_hidden
from wgan.training.data.sources import Labels
from wgan.training.data.sources.splits import SPLIT

LABEL = "cls"
"""Extension of a sample's label, as in webdataset."""

LABELS_FILE = "dataset.json"
"""Labels beside the images, as the tool of StyleGAN2-ADA writes them."""

_IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img"})

MAX_CLASSES = 10_000
"""A column of more values is no column of classes."""

MAX_FLOAT = 2**53
"""Larger whole numbers are not exact as floats."""

MAX_SHOWN = 40
"""Characters of a label in a message."""


class Classes(NamedTuple):
    """Class indices of images, the name of each class, and why there are none, if that is known."""

    labels: Labels | None = None
    names: tuple[str, ...] = ()
    reason: str = ""


NO_CLASSES = Classes()


def classes_of_column(
    values: npt.ArrayLike, names: Sequence[str] = (), title: str = "labels"
) -> Classes:
    """Return the classes of a column of whole numbers or texts, `[n]` or `[n, 1]`.

    One-hot labels `[n, classes]` are those of the positions of their ones. `names` are those of the
    classes 0 to `len(names) - 1`; without them a class has its value as its name. The label of a
    missing value is -1; with `names` -1 is a missing value, as in Hugging Face's data sets. A
    column of other numbers, with negative ones, of numbers beyond the names, of one class, or of
    nearly as many classes as images has no classes. `title` is the column in messages.
    """
    try:
        column = _one_axis(_as_array(values))
    except ValueError:  # lists of several lengths, or several labels of an image
        return Classes(reason=f"the {title} have several values for an image")
    missing = _missing(column, bool(names))
    if missing.any():
        classes = classes_of_column(column[~missing].tolist(), names, title)
        if classes.labels is None:
            return classes if classes.reason else Classes(reason=f"the {title} are all missing")
        labels = np.full(len(column), -1, np.int64)
        labels[~missing] = classes.labels
        return classes._replace(labels=labels)
    problem = _problem(column) if len(column) else ""
    if problem or len(column) == 0:
        return Classes(reason=f"the {title} {problem}" if problem else "")
    if column.dtype.kind == "f":
        column = column.astype(np.int64)
    if column.dtype.kind in "SO":
        column = np.array([_text(value) for value in column])
    if names and column.dtype.kind in "ui":
        return _named_classes(column, names, title)
    found, labels = np.unique(column, return_inverse=True)
    if len(found) == 1:
        return Classes(reason=f"the {title} are all {str(found[0])[:MAX_SHOWN]}")
    if len(found) > min(MAX_CLASSES, max(2, len(column) * 3 // 4)):
        counts = f"{len(found):,} values for {len(column):,} images"
        return Classes(reason=f"the {title} have {counts}, which are too many for classes")
    return Classes(labels.astype(np.int64), tuple(map(str, found.tolist())))


def _named_classes(column: npt.NDArray[Any], names: Sequence[str], title: str) -> Classes:
    """Return the classes of whole numbers from 0; none if some are beyond the names."""
    beyond = column[column >= len(names)]
    if len(beyond):
        images = f"{len(beyond):,} of {plural(len(column), 'image')}"
        return Classes(
            reason=f"the {title} are beyond the {len(names)} names of classes, as {beyond[0]}, for"
            f" {images}: correct them, or add names"
        )
    return Classes(column.astype(np.int64), tuple(map(str, names)))


def _as_array(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return an array. Whole numbers too large for int64 stay Python's: floats would round them."""
    array = np.asarray(values)
    if array.dtype.kind == "f" and isinstance(values, list) and all(type(v) is int for v in values):
        return np.array(values, object)
    return array


def _one_axis(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels, perhaps one-hot, as `[n]`. Raises ValueError."""
    if column.ndim == 0 or column.size == len(column):
        flat = column.reshape(-1)
        if flat.dtype.kind == "O" and any(isinstance(value, np.ndarray | list) for value in flat):
            raise ValueError("several labels of an image")
        return flat
    is_one_hot = column.ndim == 2 and column.dtype.kind in "uifb"
    if is_one_hot and np.isin(column, (0, 1)).all() and (column.sum(axis=1) == 1).all():
        positions: npt.NDArray[np.int64] = column.argmax(axis=1)
        return positions
    raise ValueError("several labels of an image")


def _missing(column: npt.NDArray[np.generic], is_named: bool) -> npt.NDArray[np.bool_]:
    """Return for each value whether it is missing: None, NaN, an empty text, or -1 if named."""
    if column.dtype.kind == "i" and is_named:
        return np.asarray(column == -1)
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind in "SU":
        return np.asarray(column == column.dtype.type())
    if column.dtype.kind == "O":
        return np.array([_is_missing(value) for value in column], bool)
    return np.zeros(len(column), bool)


def _is_missing(value: object) -> bool:
    if isinstance(value, str | bytes):
        return not value
    return value is None or (isinstance(value, float) and math.isnan(value))


def _problem(column: npt.NDArray[Any]) -> str:
    """Return why values are no classes, as the rest of a sentence; empty if they may be some."""
    if column.dtype.kind == "f" and not np.array_equal(column, np.rint(column)):
        return "are not whole numbers"
    if column.dtype.kind == "f" and column.max() > MAX_FLOAT:
        return f"are too large for whole numbers, as {column.max():g}"
    if column.dtype.kind in "if" and column.min() < 0:
        count = int((column < 0).sum())
        return f"are negative, as {column.min():g}, for {count:,} of {len(column):,} images"
    return "" if column.dtype.kind in "uifbUSO" else f"are of the type {column.dtype}"


def classes_of_folders(paths: Sequence[str]) -> Classes:
    """Return the classes of images by their subfolder: `"cat/1.png"` is of the class cat.

    Folders that contain all images, and the folders of splits, are no classes. There are none
    unless every image lies in a subfolder, and there are two.
    """
    parents = [_folders(path) for path in paths]
    level = _class_level(parents)
    if level is None:
        return NO_CLASSES
    outside = [path for path, parent in zip(paths, parents, strict=True) if len(parent) <= level]
    if outside:
        those = f"{len(outside):,} of {plural(len(paths), 'image')}"
        advice = "remove them, or give a folder without them"
        reason = f"{those} lie in no folder of a class, as {outside[0]} ({advice})"
        return Classes(reason=reason)
    names = sorted({parent[level] for parent in parents})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[parent[level]] for parent in parents], np.int64)
    return Classes(labels, tuple(names))


def _folders(path: str) -> list[str]:
    """Return the folders of a path, without an `images` between the class and its files."""
    parent = path.removeprefix("./").split("/")[:-1]
    return parent[:-1] if len(parent) > 1 and parent[-1].lower() in _IMAGE_FOLDERS else parent


def _class_level(parents: Sequence[Sequence[str]]) -> int | None:
    """Return the first level of folders that differ and are no splits; None if there is none."""
    level = 0
    while found := {parent[level] for parent in parents if len(parent) > level}:
        if len(found) > 1 and not all(map(SPLIT.fullmatch, found)):
            return level
        level += 1
    return None


def is_label_file(path: str) -> bool:
    """Whether a file beside the images holds labels for `classes_of_files`."""
    name = path.rpartition("/")[2]
    return name == LABELS_FILE or (_is_class_file(name) and not is_hidden(path))


def _is_class_file(path: str) -> bool:
    return path.lower().endswith(f".{LABEL}")


def classes_of_files(
    images: Sequence[str], label_files: Sequence[str], read: Callable[[str], bytes]
) -> Classes:
    """Return the classes of image files.

    They are those in the `dataset.json` of the folder that contains all images, or in a `.cls`
    file for each image, as webdataset has it; without such files those of the subfolders.

    Args:
        images: paths of the images.
        label_files: paths for which `is_label_file` is true.
        read: returns the content of a file, or raises ImageError.
    """
    found = _find_json(images, label_files)
    class_files = [path for path in label_files if _is_class_file(path)]
    try:
        content = b"" if found is None else read(found)
        if found is not None and b'"labels"' in content:  # else it is another program's
            folder = found.removesuffix(LABELS_FILE)
            return classes_of_json(content, [name.removeprefix(folder) for name in images])
        if class_files:
            return _classes_of_class_files(images, class_files, read)
    except ImageError as exc:
        return Classes(reason=f"a file of labels cannot be used: {exc}")
    return classes_of_folders(images)


def _find_json(images: Sequence[str], label_files: Sequence[str]) -> str | None:
    for path in sorted(label_files, key=len):
        folder, _, name = path.rpartition("/")
        inside = f"{folder}/" if folder else ""
        if name == LABELS_FILE and all(image.startswith(inside) for image in images):
            return path
    return None


def classes_of_json(text: bytes, names: Sequence[str]) -> Classes:
    """Return the classes in a `dataset.json`, as the tool of StyleGAN2-ADA writes it.

    It holds `{"labels": [["00000/img00000000.png", 6], ...]}`; `names` are the paths of the images.
    A label may be a one-hot list, or null. No classes if it holds something else, or lacks an
    image.
    """
    try:
        content: Any = json.loads(text)
        pairs: Mapping[str, Any] = dict(content["labels"] or ())
        labels = {name.replace("\\", "/"): label for name, label in pairs.items()}  # of Windows
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        labels = {}
    if not labels:
        return _no_json_classes("it lists no labels")
    missing = [name for name in names if name not in labels]
    if missing:
        return _no_json_classes(f"it lacks {plural(len(missing), 'image')}, as {missing[0]}")
    column: list[Any] = [_class_index(labels[name]) for name in names]
    # Other lists are several classes of an image.
    if any(
        label is None and labels[name] is not None
        for name, label in zip(names, column, strict=True)
    ):
        return _no_json_classes("its labels must be whole numbers or one-hot lists")
    classes = classes_of_column(column)
    return classes if classes.labels is not None else _no_json_classes(classes.reason)


def _no_json_classes(problem: str) -> Classes:
    reason = f"{LABELS_FILE} gives none: {problem}" if problem else f"{LABELS_FILE} gives none"
    return Classes(reason=f"{reason}; remove it to use the subfolders")


def _class_index(label: Any) -> int | None:
    """Return a whole number, or the index of the 1 in a one-hot list; None for anything else."""
    if type(label) is int or (type(label) is float and label.is_integer()):
        return int(label)
    if isinstance(label, list) and label.count(1) == 1 and label.count(0) == len(label) - 1:
        return label.index(1)
    return None


def _classes_of_class_files(
    images: Sequence[str], class_files: Sequence[str], read: Callable[[str], bytes]
) -> Classes:
    # A name with dots has a file of its own, or shares that of its webdataset sample.
    stems = {path[: -len(LABEL) - 1] for path in class_files}
    keys = [stem if (stem := _stem(name)) in stems else _sample_key(name) for name in images]
    wanted = set(keys)
    texts: dict[str, bytes] = {}
    for path in class_files:  # in their order, because a compressed tar is read forward
        stem = path[: -len(LABEL) - 1]
        key = stem if stem in wanted else _sample_key(path)
        if key in wanted and (key == stem or key not in stems):
            texts[key] = read(path).strip()
    missing = [name for name, key in zip(images, keys, strict=True) if key not in texts]
    if missing:
        return Classes(reason=f"{plural(len(missing), 'image')} have no .{LABEL}, as {missing[0]}")
    values = [texts[key] for key in keys]
    # Up to 18 digits fit into 64 bits; -1 is no class, as in other programs, and so is no text.
    if all((text.isdigit() and len(text) <= 18) or text in (b"", b"-1") for text in values):
        numbers: list[Any] = [int(text) if text.isdigit() else None for text in values]
        return classes_of_column(numbers)
    return classes_of_column(np.array(values, object))


def _stem(path: str) -> str:
    """Return the path without the last extension of its name."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _sample_key(path: str) -> str:
    """Return what webdataset's files of one sample share: the path up to the name's first dot."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
