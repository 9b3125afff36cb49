"""StreamingDataset: shards that are read during training, for data larger than memory.

`webdataset` reads the shards and shuffles twice: the order of the shards in each epoch, and the
samples in a buffer. Both depend on the seed and the epoch only, so a resumed run continues with
the next image. To get there it reads the epoch's shards again from the start without decoding.
"""

import hashlib
import io
import itertools
import logging
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgan.errors import DataError, ImageError, UsageError
from wgan.images import Pixels
from wgan.training.config import TrainConfig
from wgan.training.data.batches import Batch, Examples, to_batch
from wgan.training.data.decoding import DAMAGED_LIMIT, Skipped, decode, in_threads, quiet_pillow
from wgan.training.data.shards import Sample, Shards, images_of, label, read_samples
from wgan.training.data.sources import Labels
from wgan.training.data.transform import Transform
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

logger = logging.getLogger(__name__)

EPOCH = 2**40
"""A position is the epoch times EPOCH, plus the number of samples read in the epoch."""

MIN_SAMPLES = 1_000
"""The share of damaged images is computed of at least this many samples."""


_Decoded = tuple[Pixels, Sample]
"""Pixels `[height, width, channels]`, and the sample that they are from."""


@dataclass(frozen=True)
class StreamingDataset:
    """Shards that are decoded during training; used like an `InMemoryDataset`."""

    shards: Shards
    transform: Transform
    allow_damaged: bool = False
    buffer: int = TrainConfig.shuffle_buffer  # encoded images
    skipped: list[Skipped] = field(default_factory=list)  # grows during training; each is logged

    @property
    def count(self) -> int | None:
        """Number of images; None without an index."""
        return self.shards.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.transform.shape

    @property
    def sha256(self) -> str:
        """Hash of the transform and the names and sizes of the shards, not of their contents."""
        sizes = [(path.name, path.stat().st_size) for path in self.shards.paths]
        return hashlib.sha256(repr((sizes, self.transform.identity())).encode()).hexdigest()

    @property
    def labelled_sha256(self) -> str:
        """Hash of `sha256` and the names of the classes; labels are in the shards."""
        return hashlib.sha256(repr((self.sha256, self.class_names)).encode()).hexdigest()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class; empty without classes."""
        return self.shards.class_names

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class; empty if unknown."""
        return self.shards.class_counts

    @property
    def nbytes(self) -> None:
        """None: a stream is never in memory as a whole."""
        return None

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
    ) -> "StreamedBatches":
        """Return batches as `Dataset.batches` says; each rank reads all samples.

        Raises:
            UsageError: `on_device`: a stream cannot be kept there.
        """
        if on_device:
            raise UsageError(
                "--data-on-device yes: shards are streamed and cannot be kept on the device; use"
                " auto"
            )
        return StreamedBatches(self, batch_size, seed, device, flip, holdout, group)

    def train_and_holdout(
        self, holdout: float, seed: int, n: int, *, labelled: bool = False
    ) -> tuple[Examples, Examples]:
        """The first `n` training images and the first `n` held-out ones.

        Raises:
            DataError: `labelled`, and one of them has no label.
        """
        train: list[_Decoded] = []
        held_out: list[_Decoded] = []
        with quiet_pillow():
            for sample in read_samples(self.shards.paths):
                found = held_out if is_held_out(sample, holdout, seed) else train
                if len(found) < n:
                    pixels = self.decode(sample)
                    found += [] if isinstance(pixels, Skipped) else [(pixels, sample)]
                if len(train) == n and len(held_out) == (n if holdout else 0):
                    break
        return self._examples(train, labelled), self._examples(held_out, labelled)

    def _examples(self, decoded: list[_Decoded], labelled: bool) -> Examples:
        pixels = np.array([pixels for pixels, _ in decoded], np.uint8).reshape(-1, *self.shape)
        return Examples(
            pixels, self.labels([sample for _, sample in decoded]) if labelled else None
        )

    def labels(self, samples: list[Sample]) -> Labels:
        """Labels of samples, `[n]`. Raises DataError for a missing one."""
        return np.array([label(sample, len(self.class_names)) for sample in samples], np.int64)

    def images(self, count: int, batch_size: int) -> Iterator[Pixels]:
        """Yield `count` images in batches, in the random order of seed 0."""
        batches = self.batches(batch_size, seed=0, device=torch.device("cpu"))
        for first in range(0, count, batch_size):
            yield batches.pixels(min(batch_size, count - first))

    def decode(self, sample: Sample) -> Pixels | Skipped:
        """Decode a sample to `[height, width, channels]`, or return why it cannot be used."""
        try:
            return self.transform(decode(io.BytesIO(images_of(sample)[0])))
        except ImageError as exc:
            return Skipped(f"{sample['__url__']}: {sample['__key__']}", str(exc))


def is_held_out(sample: Sample, share: float, seed: int) -> bool:
    """Whether a sample is held out, by a hash of the seed and the names of shard and sample.

    `share` is met on average; the number of samples need not be known.
    """
    name = f"{seed} {Path(sample['__url__']).name} {sample['__key__']}"
    return zlib.crc32(os.fsencode(name)) < share * 2**32


@dataclass
class StreamItem:
    """A sample on its way into a batch."""

    position: int  # after this sample
    sample: Sample
    mirrored: bool
    image: Pixels | Skipped | None = None  # None until this rank decodes it


class StreamedBatches:
    """Batches of a stream; unlike in `Batches`, a batch may cross the end of an epoch."""

    def __init__(
        self,
        dataset: StreamingDataset,
        batch_size: int,
        seed: int,
        device: torch.device,
        flip: bool = False,
        holdout: float = 0.0,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Start at the beginning; for the arguments see `InMemoryDataset.batches`."""
        self._dataset, self._batch_size, self._seed = dataset, batch_size, seed
        self._device, self._flip, self._holdout, self._group = device, flip, holdout, group
        self.drawn = 0

    @property
    def drawn(self) -> int:
        """The position: epoch * EPOCH + samples read in the epoch."""
        return self._drawn

    @drawn.setter
    def drawn(self, position: int) -> None:
        self._drawn = position
        self._items = self._items_from(position)
        self._epoch, self._read, self._damaged = 0, 0, 0  # the samples of the epoch so far
        self._logged: set[str] = set()

    def next(self) -> Tensor:
        """Return the next batch: float32 `[batch, c, h, w]` in [-1, 1], channels last in memory.

        Raises:
            DataError: a shard is damaged, too many images are damaged, or there are none.
        """
        return to_batch(self.pixels(self._batch_size), self._device)

    def next_labelled(self) -> Batch:
        """Return the next batch with its labels. Raises DataError, also for a missing label."""
        pixels, samples = self._draw(self._batch_size)
        return Examples(pixels, self._dataset.labels(samples)).to_batch(self._device)

    def pixels(self, count: int) -> Pixels:
        """Draw `count` images, and return this rank's shard of them, uint8 `[n, h, w, c]`."""
        return self._draw(count)[0]

    def _draw(self, count: int) -> tuple[Pixels, list[Sample]]:
        good: list[StreamItem] = []
        with quiet_pillow():
            while len(good) < count:
                good += self._next_good(count - len(good))
            mine = good[self._group.shard]
            self._decode(mine)  # a damaged image has moved later images to another rank
        pixels = []
        for item in mine:
            if isinstance(item.image, Skipped):
                raise DataError(f"only another rank can read {': '.join(item.image)}")
            assert item.image is not None
            pixels.append(item.image)
        return np.stack(pixels), [item.sample for item in mine]

    def _next_good(self, count: int) -> list[StreamItem]:
        """The good ones of the next `count` samples; the same on every rank."""
        items = list(itertools.islice(self._items, count))
        self._decode(items[self._group.shard])
        damaged = self._group.any_of([isinstance(item.image, Skipped) for item in items])
        # The few that another rank could not decode: find their reason on this rank too.
        self._decode(list(itertools.compress(items, damaged)))
        good = []
        for item, is_damaged in zip(items, damaged, strict=True):
            self._count(item)
            if not is_damaged:
                good.append(item)
        self._drawn = items[-1].position
        return good

    def _decode(self, items: list[StreamItem]) -> None:
        todo = [item for item in items if item.image is None]
        for item, image in zip(todo, in_threads(self._decode_item, todo), strict=True):
            item.image = image

    def _decode_item(self, item: StreamItem) -> Pixels | Skipped:
        image = self._dataset.decode(item.sample)
        return image[:, ::-1] if item.mirrored and not isinstance(image, Skipped) else image

    def _items_from(self, position: int) -> Iterator[StreamItem]:
        """The shuffled samples from `position` on, without end. Raises DataError without any."""
        paths = self._dataset.shards.paths
        epoch, start = divmod(position, EPOCH)
        while True:
            random = np.random.RandomState([self._seed, epoch])  # frozen stream (NEP 19)
            order = [paths[k] for k in random.permutation(len(paths))]
            samples = read_samples(order, self._is_train, self._dataset.buffer, random)
            read = 0
            for read, sample in enumerate(samples, 1):
                # Drawn for passed samples too: the shuffle buffer uses the same random stream.
                mirrored = self._flip and random.random_sample() < 0.5
                if read > start:
                    yield StreamItem(epoch * EPOCH + read, sample, mirrored)
            if read == 0:
                raise DataError(f"there are no images in {self._dataset.shards}")
            epoch, start = epoch + 1, 0

    def _is_train(self, sample: Sample) -> bool:
        return not is_held_out(sample, self._holdout, self._seed)

    def _count(self, item: StreamItem) -> None:
        """Count a sample and its damage in its epoch.

        Raises:
            DataError: too many images are damaged, or all of an epoch.
        """
        epoch, before = divmod(item.position - 1, EPOCH)
        if epoch != self._epoch:
            if self._damaged == self._read > 0:
                raise DataError(f"all {self._read} images in {self._dataset.shards} are damaged")
            self._epoch, self._damaged = epoch, 0
        self._read = before + 1
        if not isinstance(item.image, Skipped):
            return
        self._damaged += 1
        if item.image.name not in self._logged:
            self._logged.add(item.image.name)
            self._dataset.skipped.append(item.image)
            logger.warning("skipped %s: %s", *item.image)
        # Otherwise a damaged image among the first 99 would be over 1 %.
        limit = DAMAGED_LIMIT * max(self._read, MIN_SAMPLES)
        if self._damaged > limit and not self._dataset.allow_damaged:
            raise DataError(
                f"{self._damaged} of {self._read} images are damaged, the last one in"
                f" {item.image.name}. At most {DAMAGED_LIMIT:.0%} may be damaged: repair"
                " them, or skip them with --allow-damaged"
            )
