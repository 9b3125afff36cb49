"""Choice of the arrays of images and of their labels among those of a file, by their names."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from wgan.errors import DataError
from wgan.text import plural
from wgan.training.data.sources.arrays.layout import AXES, MAX_BANDS, MAX_COLOURS, find_layout
from wgan.training.data.sources.labelling import Classes, classes_of_column, classes_of_folders
from wgan.training.data.sources.splits import SPLIT_WORDS

IMAGE_KEYS = (
    *("train_images", "x_train", "images", "image", "imgs", "img", "x", "data"),
    *("features", "samples", "arr_0", "train_set_x"),
)
"""Usual names of an array of images, the most telling first; in lower case."""

LABEL_KEYS = (
    *("train_labels", "y_train", "labels", "label", "targets", "target", "class", "classes"),
    *("y", "arr_1", "train_set_y", "ans"),
)
"""Usual names of the array of their labels."""

_GLUED = re.compile(
    r"(?<=^[xy])(?=(?:train|test|val|valid)$)|(?<=^train)(?=[xy]$)|(?<=^test)(?=[xy]$)"
    r"|(?<=^val)(?=[xy]$)"
)
"""Where a name without a separator ends its first part: Xtrain, trainX."""

_UNNAMED = re.compile(r"arr_\d+")
"""Names that NumPy gives to arrays without one."""

MIN_SINGLE = 8
"""Fewer arrays of one shape are not taken for an image each."""

FLAT = (784, 3072)
"""Values of a flat image of MNIST and CIFAR."""

LONGEST = 2
"""Ratio of the sides up to which an array of two axes is an image rather than rows of images."""

TRAINING_WORDS = ("train", "training")

ArrayType = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of an array."""


def choose_arrays(
    shapes: Mapping[str, ArrayType], key: str, name: str, files: Sequence[str] = ()
) -> tuple[str, str | None, tuple[str, ...]]:
    """Choose the array of images among those of a file, and that of their labels.

    Args:
        shapes: shape and type of each array by its name.
        key: the name that the user gave; empty to choose by the usual names.
        name: the file in messages.
        files: names of the arrays of image files.

    Returns:
        Both names, and phrases that say which images are not used.

    Raises:
        DataError: it is not clear which array is meant.
    """
    listed = ", ".join(f"{each} {list(shape)}" for each, (shape, _) in list(shapes.items())[:20])
    if key and key not in shapes:
        raise DataError(f"{name} has no array {key!r}; it has {listed or 'none'}")
    candidates = _candidates(shapes, files)
    found = [key] if key else candidates
    named = sorted(found, key=_rank)
    if not key and len(files) == 1 and _rank(named[0])[1] == len(IMAGE_KEYS):
        found = named = list(files)
    if not found or (len(found) > 1 and _rank(named[0])[1] == len(IMAGE_KEYS)):
        problem = "holds no array of images" if not found else "holds several arrays of images"
        advice = f": name one, as in {name}:{found[0]}" if found else _why_none(shapes)
        raise DataError(f"{name} {problem} ({listed or 'nothing'}){advice}")
    chosen = named[0]
    count = shapes[chosen][0][0]
    labels = [
        each for each in _labels_beside(chosen, shapes) if _could_be_labels(shapes[each][0], count)
    ]
    # The labels of another group can have as many rows: those with most in common are its own.
    labels.sort(key=lambda each: -_common(each, chosen))
    if not labels:
        _check_first_axis(chosen, shapes, name)
    unused = [
        f"{shapes[each][0][0]:,} images of the array {each}, which is not {chosen}"
        for each in candidates
        if each != chosen and (chosen in files or len(shapes[each][0]) == len(shapes[chosen][0]))
    ]
    return chosen, labels[0] if labels else None, tuple(unused)


def _labels_beside(images: str, shapes: Mapping[str, ArrayType]) -> list[str]:
    """Return the arrays that may be labels of the array `images`, the most usual names first.

    Those of another split are not: y_train has no labels for x_test.
    """
    split, _ = _split(images)
    allowed = (split, "") if split else ("", *TRAINING_WORDS)
    ranks = {_split(key)[1]: rank for rank, key in reversed(list(enumerate(LABEL_KEYS)))}
    found = []
    for each in shapes:
        own, kind = _split(each)
        if each != images and kind in ranks and own in allowed:
            found.append((own != split, ranks[kind], each))
    return [each for *_, each in sorted(found)]


def _split(name: str) -> tuple[str, str]:
    """Return the split that an array's name has, or "", and the rest of its last part.

    `"test/x"` and `"Xtest"` both are x of the split test.
    """
    words = _words(name)
    split = next((word for word in words if word in SPLIT_WORDS), "")
    return split, "_".join(word for word in _words(_last(name)) if word not in SPLIT_WORDS)


def _words(name: str) -> list[str]:
    parts = re.split(r"[_\W]+", name.lower())
    return [word for part in parts for word in _GLUED.sub("_", part).split("_")]


def _check_first_axis(images: str, shapes: Mapping[str, ArrayType], name: str) -> None:
    """Raise DataError if the last axis of an array, and not the first, has as many as the labels.

    MATLAB writes arrays like that.
    """
    shape, _ = shapes[images]
    for labels in _labels_beside(images, shapes):
        count = math.prod(shapes[labels][0])
        if count == shape[-1] > MAX_BANDS and count not in shape[:-1]:
            axes = (len(shape) - 1, *range(len(shape) - 1))
            raise DataError(
                f"{name}: the array {images} {list(shape)} has its {shape[-1]} images along the"
                f" last axis, by the number of {labels}; save {images}.transpose{axes}"
            )


class SingleImages(NamedTuple):
    """Names of the arrays that are one image each, and those of their labels; both may be empty."""

    images: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    why_no_labels: str = ""
    """Why labels beside some of the images are not used, as a clause for the user."""

    unused: tuple[str, ...] = ()
    """Which other images there are, as phrases for the user."""

    is_grouped: bool = False
    """Whether each image lies in a group of its own."""

    def classes(self, read: Callable[[str], Any]) -> Classes:
        """Return the classes by the labels, or by the folders of the images.

        `read` returns the value of an array.
        """
        if self.why_no_labels:
            return Classes(reason=self.why_no_labels)
        if self.labels:
            return classes_of_column(list(map(read, self.labels)), title="labels beside the images")
        own = [_group(name) for name in self.images] if self.is_grouped else self.images
        return classes_of_folders(own)


def find_single_images(
    shapes: Mapping[str, ArrayType], allow_ambiguous: bool = False
) -> SingleImages:
    """Find the arrays that are one image each, and the labels of these images.

    They are all arrays of a file: many, of one shape, without usual names or with those that NumPy
    gives, `arr_0` and so on. Or each lies in a group of its own under the same usual name, perhaps
    beside its label. If all have splits in their names, those of the training split are taken.

    `allow_ambiguous`: take an array of such a set for one image if it may also hold several images,
    as `[3, 32, 32]` or `[20, 1024]`.
    """
    is_named = any(_last(name) in IMAGE_KEYS for name in shapes)
    if not is_named or all(map(_UNNAMED.fullmatch, shapes)):
        names, others = _of_training(list(shapes))
        is_clear = allow_ambiguous or not any(_is_ambiguous(shape) for shape, _ in shapes.values())
        if is_clear and len(shapes) >= MIN_SINGLE and _are_equal_images(names, shapes):
            return SingleImages(tuple(names), unused=others)
        return SingleImages()
    groups: dict[str, dict[str, str]] = {}
    for name in shapes:
        groups.setdefault(_last(name), {})[_group(name)] = name
    for key in IMAGE_KEYS:
        found = list(groups.get(key, {}).values())
        names, others = _of_training(found)
        is_flat = any(_is_flat(shapes[name][0]) for name in names)
        if len(found) >= MIN_SINGLE and _are_equal_images(names, shapes) and not is_flat:
            labels, reason = _labels_of_groups(names, groups)
            unused = (*others, *_images_beside(names, groups, shapes))
            return SingleImages(tuple(names), labels, reason, unused, is_grouped=True)
    return SingleImages()


def _of_training(names: Sequence[str]) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return the names of the training split, and phrases that say which others there are.

    All names unless each one has a split: a class may be called train.
    """
    counts = Counter(_split(name)[0] for name in names)
    if "" in counts or counts.keys().isdisjoint(TRAINING_WORDS):
        return names, ()
    unused = (
        f"{plural(count, 'image')} of the split {split}"
        for split, count in counts.items()
        if split not in TRAINING_WORDS
    )
    return [name for name in names if _split(name)[0] in TRAINING_WORDS], tuple(unused)


def _labels_of_groups(
    images: Sequence[str], groups: Mapping[str, Mapping[str, str]]
) -> tuple[tuple[str, ...], str]:
    """Return the labels beside images, each in a group of its own, or why they are not used.

    `groups` are the arrays by the last part of their names, and by their group.
    """
    reason = ""
    for key in LABEL_KEYS:
        labels = groups.get(key, {})
        missing = [name for name in images if _group(name) not in labels]
        if not missing:
            return tuple(labels[_group(name)] for name in images), ""
        if len(missing) < len(images) and not reason:
            those = f"{len(missing):,} of {plural(len(images), 'image')}"
            reason = f"{those} have no {key} beside them, as {missing[0]}"
    return (), reason


def _images_beside(
    images: Sequence[str],
    groups: Mapping[str, Mapping[str, str]],
    shapes: Mapping[str, ArrayType],
) -> Iterator[str]:
    """Yield phrases that say which other images lie in the groups of `images`."""
    own = _last(images[0])
    for key, arrays in groups.items():
        beside = [arrays[group] for group in map(_group, images) if group in arrays]
        if key != own and beside and _are_equal_images(beside[:1], shapes):
            yield f"{plural(len(beside), 'image')} of the arrays {key}, which are not {own}"


def _are_equal_images(names: Sequence[str], shapes: Mapping[str, ArrayType]) -> bool:
    """Whether each array can be one image, and they all have one shape and type."""
    if len({shapes[name] for name in names}) != 1:
        return False
    shape, dtype = shapes[names[0]]
    if len(shape) not in (2, 3) or dtype.kind not in "uifb":
        return False
    # An array of another number of rows of 784 or 3072 values has flat images of MNIST or CIFAR.
    is_flat = shape[-1] in FLAT and shape[0] != shape[1]
    layout = find_layout(shape)
    return layout is not None and layout.bands <= MAX_COLOURS and not is_flat


def _is_ambiguous(shape: Sequence[int]) -> bool:
    """Whether an array can be an image and several images: flat ones, or grey ones as its bands."""
    layout = find_layout(shape)
    return _is_flat(shape) or (layout is not None and layout.bands_first and layout.bands > 1)


def _is_flat(shape: Sequence[int]) -> bool:
    """Whether an array has rows of the values of square images, and is too long for an image."""
    if len(shape) != 2 or find_layout(shape[1:]) is None:
        return False
    return max(shape) > LONGEST * min(shape)


def _candidates(shapes: Mapping[str, ArrayType], files: Sequence[str]) -> list[str]:
    """Return the names of the arrays that may be images: those of numbers, and `files`."""
    return [
        name
        for name, (shape, dtype) in shapes.items()
        if name in files
        or (dtype.kind in "uifb" and len(shape) >= 2 and shape[0] and find_layout(shape[1:]))
    ]


def _why_none(shapes: Mapping[str, ArrayType]) -> str:
    """Return what arrays that are not read hold instead, as the rest of a sentence."""
    objects = sorted((each for each, (_, dtype) in shapes.items() if dtype.hasobject), key=_rank)
    for each in objects:
        metadata: Mapping[str, Any] = shapes[each][1].metadata or {}
        vlen = metadata.get("vlen")  # h5py's lists of any length
        if vlen is None:
            return (
                f": {each} holds Python objects, which are not read, because that would run their"
                " code. Save numbers, as with np.stack(list(images))"
            )
        if vlen is not str:
            return (
                f": {each} holds lists of any length, which are no image files that are known:"
                " write each image to a file in a folder, and give the folder"
            )
    tables = [each for each, (_, dtype) in shapes.items() if dtype.names]
    if tables:
        fields = ", ".join(shapes[tables[0]][1].names or ())
        return f": {tables[0]} is a table; save each of its fields ({fields}) as an array"
    empty = [each for each, (shape, _) in shapes.items() if len(shape) > 1 and not shape[0]]
    if empty:
        return f": {empty[0]} is empty"
    unclear = [
        each for each, (shape, dtype) in shapes.items() if len(shape) > 2 and dtype.kind in "uifb"
    ]
    return f": the first axis of {unclear[0]} must be that of the images; {AXES}" if unclear else ""


def _could_be_labels(shape: Sequence[int], count: int) -> bool:
    """Whether an array has a label for each image, or a row of one-hot labels."""
    return bool(shape) and shape[0] == count and (len(shape) <= 2 or math.prod(shape[1:]) == 1)


def _rank(name: str) -> tuple[bool, int]:
    is_test = any(word in name.lower() for word in ("test", "val", "mask"))
    last = _last(name)
    return is_test, IMAGE_KEYS.index(last) if last in IMAGE_KEYS else len(IMAGE_KEYS)


def _last(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _common(one: str, two: str) -> int:
    return next((k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), 0)
