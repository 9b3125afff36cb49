"""A data set: the decoded images that a run trains on, in memory or streamed."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from wgan.errors import DataError
from wgan.images import Pixels, evenly_spaced
from wgan.text import shorten
from wgan.training.data.batches import Batches, BatchSequence, Examples, check_shape
from wgan.training.data.decoding import Part, Skipped
from wgan.training.data.sources import Labels, count_classes
from wgan.training.data.sources.labelling import MAX_CLASSES
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

Indices = npt.NDArray[np.int64]


class Dataset(Protocol):
    """Images to train on and to compare with: `InMemoryDataset` or `StreamingDataset`."""

    @property
    def count(self) -> int | None:
        """Number of good images; None for shards without an index."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""

    @property
    def nbytes(self) -> int | None:
        """Bytes of all pixels; None for a stream."""

    @property
    def sha256(self) -> str:
        """Identity of the data: a run resumes only on data with the same hash."""

    @property
    def labelled_sha256(self) -> str:
        """Identity of the images with their classes, for a conditional run."""

    @property
    def skipped(self) -> list[Skipped]:
        """Damaged images found so far."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; empty if the data has no classes."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class; empty if unknown."""

    def batches(
        self,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,
        holdout: float = 0.0,
        on_device: bool = False,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> BatchSequence:
        """Shuffled batches without end.

        Args:
            batch_size: images per batch, over all ranks.
            seed: of the order.
            device: where the batches go.
            flip: mirror half of the images of each epoch, at random.
            holdout: the share of the images that is excluded.
            on_device: keep all images in the device's memory.
            group: the ranks that share each batch; a rank receives its shard only.

        Raises:
            DataError: there are fewer images than a batch holds.
            UsageError: a stream cannot be kept on the device.
        """

    def train_and_holdout(
        self, holdout: float, seed: int, n: int, *, labelled: bool = False
    ) -> tuple[Examples, Examples]:
        """At most `n` training images and at most `n` held-out images, perhaps with labels."""

    def images(self, count: int, batch_size: int) -> Iterator[Pixels]:
        """Yield `count` images in batches: evenly spaced, or random ones of a stream."""


@dataclass(frozen=True)
class InMemoryDataset:
    """All good images of a source, in memory or memory-mapped from the cache."""

    pixels: Pixels  # [n, height, width, channels]
    skipped: list[Skipped]  # in the order of the source
    sha256: str  # of the shape and the pixels
    labels: Labels | None = None  # [n]; None for data without classes
    class_names: tuple[str, ...] = ()

    @classmethod
    def from_array(
        cls,
        array: npt.ArrayLike,
        value_range: tuple[float, float] | None = None,
        labels: npt.ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Use an array of images, for example from a NumPy file.

        Args:
            array: `[n, height, width]` for grey, or `[n, height, width, channels]` with 1 to 16
                channels. uint8 is used as it is, without a copy.
            value_range: the values of black and white for any other type, as in `(0, 1)` or
                `(0, 65535)`. Booleans, and floats between -1 and 1 of which some are negative,
                need none.
            labels: class of each image, integers `[n]` from 0, for a conditional run.
            class_names: name of each class; the default is their numbers.

        Raises:
            DataError: the shape, type or values are not allowed.
        """
        values = np.asarray(array)
        if values.ndim == 3:
            values = values[..., None]
        check_shape(values)
        pixels = _to_pixels(values, value_range)
        data = cls(pixels, [], pixels_sha256(pixels))
        if labels is None:
            return data
        checked = as_labels(labels, len(pixels))
        if class_names is None:
            highest = int(checked.max())
            if highest >= MAX_CLASSES:
                raise DataError(
                    f"the labels go up to {highest}: number at most {MAX_CLASSES:,} classes from 0"
                )
            class_names = [str(label) for label in range(highest + 1)]
        return data.with_labels(checked, class_names)

    def with_labels(self, labels: Labels, class_names: Sequence[str]) -> Self:
        """Return the same images with classes.

        Raises:
            DataError: a label has no name, or a name is used twice.
        """
        names = tuple(class_names)
        if len(set(names)) < len(names) or labels.max(initial=-1) >= len(names):
            raise DataError(
                f"there are {len(set(names))} class names for labels up to {labels.max()}: each"
                " class needs a name of its own"
            )
        return dataclasses.replace(self, labels=labels, class_names=names)

    @classmethod
    def from_parts(cls, parts: Iterable[Part], shape: tuple[int, int, int, int]) -> Self:
        """Collect decoded images in memory; `shape[0]` is an upper limit of their number."""
        # Pages at the end that are never written, because images were damaged, take no memory.
        pixels = np.empty(shape, dtype=np.uint8)
        skipped: list[Skipped] = []
        count = 0
        for some, damaged in parts:
            pixels[count : count + len(some)] = some
            count += len(some)
            skipped += damaged
        return cls(pixels[:count], skipped, pixels_sha256(pixels[:count]))

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return self.pixels.nbytes

    @property
    def labelled_sha256(self) -> str:
        """SHA-256 of the images' hash, the names of the classes and the labels."""
        assert self.labels is not None, "these images have no labels"
        digest = hashlib.sha256(repr((self.sha256, self.class_names)).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class; empty without classes."""
        return count_classes(self.labels, self.class_names)

    def batches(
        self,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,
        holdout: float = 0.0,
        on_device: bool = False,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> Batches:
        """Return shuffled batches without end: see `Dataset.batches`."""
        train, _ = split(self.count, holdout, seed)
        return Batches(
            self.pixels,
            batch_size,
            seed,
            device,
            chosen=train,
            flip=flip,
            on_device=on_device,
            shard=group.shard,
            labels=self.labels,
        )

    def train_and_holdout(
        self, holdout: float, seed: int, n: int, *, labelled: bool = False
    ) -> tuple[Examples, Examples]:
        """At most `n` images of each part, evenly spaced: data is often sorted by class."""
        assert self.labels is not None or not labelled, "these images have no labels"
        labels = self.labels if labelled else None
        train, held_out = (
            part[evenly_spaced(len(part), min(n, len(part)))]
            for part in split(self.count, holdout, seed)
        )
        return (
            Examples(self.pixels[train], None if labels is None else labels[train]),
            Examples(self.pixels[held_out], None if labels is None else labels[held_out]),
        )

    def images(self, count: int, batch_size: int) -> Iterator[Pixels]:
        """Yield `count` images, evenly spaced, in batches."""
        indices = evenly_spaced(self.count, count)
        for first in range(0, count, batch_size):
            yield self.pixels[indices[first : first + batch_size]]


def split(count: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Split `count` images at random into training and held-out indices, both sorted.

    `share` is rounded up to a whole image.
    """
    order = np.random.RandomState(seed).permutation(count)
    held_out = int(np.ceil(count * share))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def as_labels(labels: npt.ArrayLike, count: int) -> Labels:
    """Return labels as int64 `[count]`. Raises DataError unless they are integers from 0."""
    found = np.asarray(labels)
    is_right = found.shape == (count,) and found.dtype.kind in "ui" and found.min(initial=0) >= 0
    if not is_right:
        raise DataError(
            f"the labels are {found.dtype} of the shape {list(found.shape)}, but must be {count}"
            " integers from 0, one for each image"
        )
    return found.astype(np.int64)


def pixels_sha256(pixels: Pixels) -> str:
    """SHA-256 of the shape and the pixels, in hexadecimal."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _to_pixels(array: npt.NDArray[np.generic], value_range: tuple[float, float] | None) -> Pixels:
    """Map `value_range` to 0..255. Raises DataError."""
    if value_range is not None:
        value_range = _check_value_range(value_range)
    if array.dtype == np.bool_ and array.size:
        if value_range not in (None, (0, 1)):
            raise DataError("booleans are black and white: leave out value_range")
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind not in "uif" or array.size == 0:
        raise DataError(
            f"an array of {array.dtype} {list(array.shape)} cannot be used as images: give at"
            " least one, as uint8 or as numbers with a value_range"
        )
    if array.dtype == np.uint8 and value_range in (None, (0, 255)):
        return array.astype(np.uint8, copy=False)
    low, high = float(array.min()), float(array.max())
    if value_range is None and array.dtype.kind == "f" and -1 <= low < 0 and high <= 1:
        value_range = (-1, 1)
    if value_range is None:
        raise DataError(
            f"the range of {array.dtype} values from {low:g} to {high:g} is ambiguous: use uint8,"
            " or give value_range=(black, white), as in (0, 1)"
        )
    black, white = value_range
    if np.isnan(low):
        raise DataError("the images hold NaN, which is no value between black and white")
    if not (black <= low and high <= white):
        raise DataError(f"values from {low:g} to {high:g} are outside value_range={value_range}")
    scale = 255 / (white - black)
    pixels = np.empty(array.shape, np.uint8)
    for target, values in zip(pixels, array, strict=True):  # one image at a time saves memory
        # In float64: float32 has too few digits for 32-bit integers, and uint8 would wrap around.
        target[...] = np.rint((values.astype(np.float64) - black) * scale)
    return pixels


def _check_value_range(value_range: tuple[float, float]) -> tuple[float, float]:
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError):
        black = white = 0.0
    if not (black < white and np.isfinite(white - black)):
        raise DataError(
            f"value_range={shorten(value_range)} is not allowed: give the values of black and"
            " white, the lower one first, as in (0, 1)"
        )
    return black, white
