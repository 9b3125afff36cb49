"""Labels of images as users give them: classes by name or index, one for all images or one each."""

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.latents import ClassInput, ClassWeights, Labels, labels_from_seeds
from wgan.options import did_you_mean
from wgan.text import shorten

GivenLabels = int | str | Sequence[int | str]
"""A class by index or name, for all images, or one for each image."""

NAME_LIMIT = 40
"""Most characters of a class in the name of a file."""

LISTED_CLASSES = 12
"""Classes that a message lists."""

WEIGHT_ERROR = 1e-3
"""How far class weights may be from 0 to 1, and their sum from 1: float16 rounds."""


@dataclass(frozen=True)
class Labelling:
    """Which label each image has, for a generator with classes."""

    classes: tuple[str, ...]
    given: tuple[int, ...] = ()  # one for all, or one each; without any, those of the seeds

    def labels(self, places: Sequence[int], seeds: Sequence[int]) -> Labels:
        """Labels of the images at `places`; without given ones, `labels_from_seeds` of `seeds`."""
        if not self.given:
            return labels_from_seeds(seeds, len(self.classes))
        if len(self.given) == 1:
            return np.full(len(places), self.given[0], np.int64)
        return np.asarray(self.given, np.int64)[np.asarray(places, np.int64)]

    def part(self, start: int, stop: int) -> "Labelling":
        """Return the labelling of the images from `start` to `stop`."""
        if len(self.given) < 2:
            return self
        return Labelling(self.classes, self.given[start:stop])

    def file_name(self, label: int) -> str:
        """The class as part of a file's name: ASCII letters, digits, - and _, other than others'.

        WebDataset takes what follows the first dot as an extension, so there is none.
        """
        return _file_names(self.classes)[label]


def make_labelling(
    classes: tuple[str, ...], labels: GivenLabels | None, count: int, noun: str = "images"
) -> Labelling | None:
    """Return which labels `count` images have; None for a generator without classes.

    Args:
        classes: the generator's classes.
        labels: one for all, one each, or None for those of the seeds.
        count: the number of images, or of what `noun` says.
        noun: what has a label each, for messages.

    Raises:
        UsageError: there is no such class, or the number of labels is another.
    """
    if labels is None:
        return Labelling(classes) if classes else None
    several = [labels] if isinstance(labels, int | np.integer | str) else labels
    given = tuple(find_label(label, classes) for label in several)
    if len(given) not in (1, count):
        raise UsageError(
            f"{len(given)} labels are given for {count} {noun}: give one for each, or one for all"
        )
    return Labelling(classes, given)


def parse_labels(text: str) -> tuple[str, ...]:
    """Split `"cat,0,3"` at its commas. Raises UsageError for an empty label."""
    labels = tuple(part.strip() for part in text.split(","))
    if not all(labels):
        raise UsageError(
            f"labels {shorten(text)} are not allowed: write names or indices, as in cat,0,3"
        )
    return labels


def find_label(label: int | str, classes: Sequence[str]) -> int:
    """Return the index of a class. A text is a name, or else an index.

    Raises:
        UsageError: there is no such class.
    """
    if not classes:
        raise UsageError("this model has no classes: leave out the label")
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
        if label.isdecimal() and len(label) < 20:
            label = int(label)
    elif isinstance(label, bool):
        label = str(label)
    if isinstance(label, int | np.integer) and 0 <= label < len(classes):
        return int(label)
    shown = [shorten(name, NAME_LIMIT) for name in classes[:LISTED_CLASSES]]
    more = [f"and {len(classes) - LISTED_CLASSES} more"] if len(classes) > LISTED_CLASSES else []
    hint = did_you_mean(label, classes) if isinstance(label, str) else ""
    raise UsageError(
        f"label {shorten(label)} is not a class of this model: give 0 to {len(classes) - 1}, or a"
        f" name: {', '.join([*shown, *more])}.{hint}"
    )


def check_labels(labels: ClassInput | None, n: int, classes: int) -> ClassInput | None:
    """Return labels for `n` latents as a graph takes them, int64 `[n]`; None without classes.

    Class weights `[n, classes]` become float32.

    Raises:
        UsageError: they are missing, of another shape or type, there is no such class, or an
            image's weights do not have the sum 1.
    """
    if labels is None:
        if classes:
            raise UsageError(
                f"labels are missing: this generator has {classes} classes and takes labels, int64"
                " [n], beside latents"
            )
        return None
    if not classes:
        raise UsageError("labels are not allowed: this generator has no classes")
    given: npt.NDArray[Any] = np.asarray(labels)
    if given.ndim == 2 and (given.dtype.kind == "f" or given.shape == (n, classes)):
        return _check_weights(given, n, classes)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise UsageError(
            f"labels of {given.dtype} {list(given.shape)} are not allowed: {n} latents need"
            f" integers [{n}]"
        )
    if not (given.min() >= 0 and given.max() < classes):
        raise UsageError(
            f"labels {given.min()} to {given.max()} are not allowed: this generator has the"
            f" classes 0 to {classes - 1}"
        )
    return given.astype(np.int64, copy=False)


def _check_weights(weights: npt.NDArray[Any], n: int, classes: int) -> ClassWeights:
    are_weights = (
        weights.dtype.kind in "biuf"
        and weights.shape == (n, classes)
        and (weights >= -WEIGHT_ERROR).all()
        and (weights <= 1 + WEIGHT_ERROR).all()
        and (np.abs(weights.sum(axis=1) - 1) <= WEIGHT_ERROR).all()
    )
    if not are_weights:
        raise UsageError(
            f"class weights of {weights.dtype} {list(weights.shape)} are not allowed: {n} latents"
            f" need numbers from 0 to 1 [{n}, {classes}], with the sum 1 in each row"
        )
    return weights.astype(np.float32, copy=False)


@functools.cache
def _file_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    plain = [_plain(name) for name in classes]
    # File systems of macOS and Windows do not distinguish cases.
    if all(plain) and len({name.casefold() for name in plain}) == len(plain):
        return tuple(plain)
    # All of them, or an index could make the name of another class.
    return tuple(f"{name}-{index}" for index, name in enumerate(plain))


def _plain(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9-]+", "_", ascii_only)[:NAME_LIMIT].strip("_-")
