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


class Classes(NamedTuple):
    """Class indices of images, and the name of each class."""

    labels: Labels | None = None
    names: tuple[str, ...] = ()


NO_CLASSES = Classes()


def classes_of_column(values: npt.ArrayLike, names: Sequence[str] = ()) -> Classes:
    """Return the classes of a column of whole numbers or texts, `[n]` or `[n, 1]`.

    `names` are those of the classes 0 to `len(names) - 1`; without them a class has its value as
    its name. A column of other numbers, with negative ones, of one class, or of nearly as many
    classes as images has no classes.
    """
    column = np.asarray(values)
    if column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1 or len(column) == 0:
        return NO_CLASSES
    if column.dtype.kind == "f" and np.array_equal(column, np.rint(column)):
        column = column.astype(np.int64)
    if column.dtype.kind in "SO":
        column = np.array([_text(value) for value in column])
    if column.dtype.kind not in "uibU" or (column.dtype.kind == "i" and column.min() < 0):
        return NO_CLASSES
    if names and column.dtype.kind in "ui" and column.max() < len(names):
        return Classes(column.astype(np.int64), tuple(map(str, names)))
    found, labels = np.unique(column, return_inverse=True)
    if not 2 <= len(found) <= min(MAX_CLASSES, max(2, len(column) // 2)):
        return NO_CLASSES
    return Classes(labels.astype(np.int64), tuple(map(str, found.tolist())))


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
