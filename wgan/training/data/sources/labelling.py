"""Classes of images: from a column of labels, from subfolders, and from `dataset.json`."""

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wgan.training.data.sources import Labels

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev"})
"""Names of subfolders and files that part a data set and are no classes."""

MAX_CLASSES = 10_000
"""A column of more values is no column of classes."""

MAX_SHOWN = 40
"""Characters of a label in a message."""


class Classes(NamedTuple):
    """Class indices of images, and the name of each class."""

    labels: Labels | None = None
    names: tuple[str, ...] = ()
    reason: str = ""
    """Why labels that the data has are no classes, as a phrase."""


NO_CLASSES = Classes()


def classes_of_column(
    values: npt.ArrayLike, names: Sequence[str] = (), title: str = "labels"
) -> Classes:
    """Return the classes of a column of whole numbers or texts, `[n]` or `[n, 1]`.

    One-hot labels `[n, classes]` are those of the positions of their ones. `names` are those of the
    classes 0 to `len(names) - 1`; without them a class has its value as its name. A column of other
    numbers, with negative or missing ones, of one class, or of nearly as many classes as images has
    no classes. `title` is the column in messages.
    """
    try:
        column = _one_axis(np.asarray(values))
        problem = _problem(column) if len(column) else ""
    except ValueError:  # lists of several lengths, or several labels of an image
        return Classes(reason=f"the {title} have several values for an image")
    if problem or len(column) == 0:
        return Classes(reason=f"the {title} {problem}" if problem else "")
    if column.dtype.kind == "f":
        column = column.astype(np.int64)
    if column.dtype.kind in "SO":
        column = np.array([_text(value) for value in column])
    if names and column.dtype.kind in "ui" and column.max() < len(names):
        return Classes(column.astype(np.int64), tuple(map(str, names)))
    found, labels = np.unique(column, return_inverse=True)
    if len(found) == 1:
        return Classes(reason=f"the {title} are all {str(found[0])[:MAX_SHOWN]}")
    if len(found) > min(MAX_CLASSES, max(2, len(column) // 2)):
        counts = f"{len(found):,} values for {len(column):,} images"
        return Classes(reason=f"the {title} have {counts}, which are too many for classes")
    return Classes(labels.astype(np.int64), tuple(map(str, found.tolist())))


def _one_axis(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels, perhaps one-hot, as `[n]`. Raises ValueError."""
    if column.ndim == 0 or column.size == len(column):
        return column.reshape(-1)
    is_one_hot = column.ndim == 2 and column.dtype.kind in "uifb"
    if is_one_hot and np.isin(column, (0, 1)).all() and (column.sum(axis=1) == 1).all():
        positions: npt.NDArray[np.int64] = column.argmax(axis=1)
        return positions
    raise ValueError("several labels of an image")


def _problem(column: npt.NDArray[Any]) -> str:
    """Return why values are no classes, as the rest of a sentence; empty if they may be some."""
    missing = sum(value is None for value in column) if column.dtype.kind == "O" else 0
    if missing:
        return f"have no value for {missing:,} of {len(column):,} images"
    if column.dtype.kind == "f" and not np.array_equal(column, np.rint(column)):
        return "are not whole numbers"
    if column.dtype.kind in "if" and column.min() < 0:
        count = int((column < 0).sum())
        return f"are negative, as {column.min():g}, for {count:,} of {len(column):,} images"
    return "" if column.dtype.kind in "uifbUSO" else f"are of the type {column.dtype}"


def classes_of_folders(paths: Sequence[str]) -> Classes:
    """Return the classes of images by their subfolder: `"cat/1.png"` is of the class cat.

    Folders that contain all images, and the folders of splits, are no classes. There are none
    unless every image lies in a subfolder, and there are two.
    """
    parents = [path.removeprefix("./").split("/")[:-1] for path in paths]
    if not parents:
        return NO_CLASSES
    # zip stops at the shortest path: an image beside the subfolders leaves no level for classes.
    levels = zip(*parents, strict=False)
    shared = sum(1 for _ in takewhile(_is_no_class, levels))
    if min(map(len, parents)) <= shared:
        return NO_CLASSES
    names = sorted({parent[shared] for parent in parents})
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[parent[shared]] for parent in parents], np.int64)
    return Classes(labels, tuple(names))


def _is_no_class(level: tuple[str, ...]) -> bool:
    found = set(level)
    return len(found) == 1 or {name.lower() for name in found} <= SPLITS


def classes_of_json(text: bytes, names: Sequence[str]) -> Classes:
    """Return the classes in a `dataset.json`, as the tool of StyleGAN2-ADA writes it.

    It holds `{"labels": [["00000/img00000000.png", 6], ...]}`; `names` are the paths of the images.
    No classes if it holds something else, or lacks an image.
    """
    try:
        content: Any = json.loads(text)
        labels: Mapping[str, Any] = dict(content["labels"])
        column = [labels[name] for name in names]
    except (ValueError, TypeError, KeyError, RecursionError):
        return NO_CLASSES
    if not all(type(label) is int for label in column):  # lists are several classes of an image
        return NO_CLASSES
    return classes_of_column(column)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
