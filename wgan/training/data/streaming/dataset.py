"""Training from shards as they stand on disk: for data that is more than memory, or than a cache.

The `webdataset` library reads the shards and shuffles them: the shards' order anew in each epoch,
then the images in a buffer. Both are functions of the seed and the epoch, so a resumed run goes
on with the very image that would have come next. To get there it reads the epoch's shards from
their beginning once more, without decoding: at the disk's speed, where `Batches` takes no time.
"""

import hashlib
import io
import itertools
import logging
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgan.errors import DataError, ImageError, UsageError
from wgan.images import Pixels
from wgan.training.data.batches import to_batch
from wgan.training.data.dataset import Skipped
from wgan.training.data.decode import decode
from wgan.training.data.decode_all import DAMAGED_LIMIT
from wgan.training.data.parallel import in_threads, quiet_pillow
from wgan.training.data.streaming.shards import Sample, Shards, image_file, read_samples
from wgan.training.data.transform import Transform
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

logger = logging.getLogger(__name__)

BUFFER = 5_000
"""Encoded images among which the next one is drawn."""

EPOCH = 2**40
"""A position is the epoch times this, plus the images that were passed in it."""

SEEN_AT_LEAST = 1_000
"""The share of damaged images is taken of at least so many: the first may be one of them."""


@dataclass(frozen=True)
class StreamingDataset:
    """What a run learns from when it streams shards; stands where `Images` would."""

    shards: Shards
    transform: Transform
    allow_damaged: bool = False
    buffer: int = BUFFER
    skipped: list[Skipped] = field(default_factory=list)  # grows while it streams; each is logged

    @property
    def count(self) -> int | None:
        """How many images there are; None where no index says so."""
        return self.shards.count

    @property
    def sha256(self) -> str:
        """A hash of the shards' names and sizes and of the transform: their bytes are not read."""
        sizes = [(path.name, path.stat().st_size) for path in self.shards.paths]
        return hashlib.sha256(repr((sizes, asdict(self.transform))).encode()).hexdigest()

    @property
    def nbytes(self) -> None:
        """Nobody knows how many bytes the pixels of a stream take."""
        return None

    def batches(
        self,
        batch_size: int,
        seed: int,
        device: torch.device,
        *,
        flip: bool = False,
        holdout: float = 0.0,
        resident: bool = False,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> "StreamedBatches":
        """Batches without end, less the share that is held out; of each the `group`'s rows alone.

        Every process reads all samples, and decodes those of its rows.

        Raises:
            UsageError: they are to be `resident` on the device: a stream is too much for that.
        """
        if resident:
            raise UsageError(
                "--data-on-device yes: shards are streamed and never all there; run with auto"
            )
        images = StreamedImages(self, seed, flip, holdout)
        return StreamedBatches(images, batch_size, device, group)

    def train_and_holdout_samples(self, holdout: float, seed: int, n: int) -> tuple[Pixels, Pixels]:
        """The first `n` images that are learned from, and the first `n` that are held out."""
        found: tuple[list[Pixels], list[Pixels]] = ([], [])
        wanted = [n, n if holdout else 0]
        with quiet_pillow():
            for sample in read_samples(self.shards.paths):
                kind = found[is_held_out(sample, holdout, seed)]
                if len(kind) < n:
                    pixels = self.decode(sample)
                    kind += [] if isinstance(pixels, tuple) else [pixels]
                if [len(kind) for kind in found] == wanted:
                    break
        none = np.empty((0, *self.transform.shape), np.uint8)
        learned, held_out = (np.stack(kind) if kind else none for kind in found)
        return learned, held_out

    def decode(self, sample: Sample) -> Pixels | Skipped:
        """The sample's pixels, `[height, width, channels]`, or why it is not used."""
        try:
            return self.transform(decode(io.BytesIO(image_file(sample))))
        except ImageError as exc:
            return f"{sample['__url__']}: {sample['__key__']}", str(exc)


def is_held_out(sample: Sample, share: float, seed: int) -> bool:
    """Whether a sample is held out: by a hash of the seed, its shard's name and its own.

    The share is met on the average: how many samples there are need not be known.
    """
    name = f"{seed} {Path(sample['__url__']).name} {sample['__key__']}"
    return zlib.crc32(name.encode()) < share * 2**32


@dataclass
class StreamItem:
    """A sample on its way into a batch."""

    position: int  # the one that follows it
    item: tuple[Sample, bool]  # the bool: mirrored
    image: Pixels | Skipped | None = None  # None as long as it is not decoded here


class StreamedBatches:
    """Batches without end; as `Batches`, but a batch may end one epoch and begin the next."""

    def __init__(
        self,
        images: "StreamedImages",
        batch_size: int,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._images, self._batch_size, self._device = images, batch_size, device
        self._group = group
        self.drawn = 0

    @property
    def drawn(self) -> int:
        """The whole position in the data, to be set on a resume: epoch * EPOCH + images."""
        return self._drawn

    @drawn.setter
    def drawn(self, position: int) -> None:
        self._drawn = position
        self._ahead = self._images.since(position)
        self._damage = SkipCounter(self._images.stream)

    def next(self) -> Tensor:
        """Draw a batch: float32 `[batch, c, h, w]` in [-1, 1], channels last, on the device.

        Raises:
            DataError: a shard is damaged, too many images are, or there is none.
        """
        return to_batch(self.pixels(self._batch_size), self._device)

    def pixels(self, count: int) -> Pixels:
        """Draw `count` images: this process's rows of them, `[n, h, w, c]`; raises as `next`."""
        good: list[StreamItem] = []
        with quiet_pillow():
            while len(good) < count:
                good += self._more(count - len(good))
            mine = good[self._group.shard]
            self._decode(mine)  # a damaged one has shifted the rows behind it
        return np.stack([_pixels(entry) for entry in mine])

    def _more(self, count: int) -> list[StreamItem]:
        """The good ones among the next `count` samples; all processes agree on which they are."""
        entries = [StreamItem(*ahead) for ahead in itertools.islice(self._ahead, count)]
        self._decode(entries[self._group.shard])
        damaged = self._group.any_of([isinstance(entry.image, tuple) for entry in entries])
        # Those that another process could not use are few: let this one tell their reason too.
        self._decode(list(itertools.compress(entries, damaged)))
        for entry, is_damaged in zip(entries, damaged, strict=True):
            self._damage.note(entry.position, entry.image if is_damaged else None)
        self._drawn = entries[-1].position
        return [entry for entry, is_damaged in zip(entries, damaged, strict=True) if not is_damaged]

    def _decode(self, entries: list[StreamItem]) -> None:
        left = [entry for entry in entries if entry.image is None]
        images = in_threads(self._images.decode, [entry.item for entry in left])
        for entry, image in zip(left, images, strict=True):
            entry.image = image


def _pixels(entry: StreamItem) -> Pixels:
    """An entry's image. Raises DataError where it was good elsewhere and is not here."""
    if isinstance(entry.image, tuple):
        raise DataError("{} can be read by another process, but not here: {}".format(*entry.image))
    assert entry.image is not None
    return entry.image


@dataclass(frozen=True)
class StreamedImages:
    """The images of a stream in their order, without end.

    The order depends on the seed, the shards, the buffer's size, and `flip` and `holdout`.
    """

    stream: StreamingDataset
    seed: int
    flip: bool  # mirror half of them, at random
    holdout: float  # the share that is left out

    def since(self, position: int) -> Iterator[tuple[int, tuple[Sample, bool]]]:
        """The samples from `position` on, each with the position that follows it.

        Raises:
            DataError: a shard is damaged, or there is no sample.
        """
        epoch, passed = divmod(position, EPOCH)
        while True:
            for item in itertools.islice(self._samples(epoch), passed, None):
                passed += 1
                yield epoch * EPOCH + passed, item
            if passed == 0:
                raise DataError(f"none of the 0 images in {self.stream.shards} is good")
            epoch, passed = epoch + 1, 0

    def _samples(self, epoch: int) -> Iterator[tuple[Sample, bool]]:
        """An epoch's samples in their order, and whether each is mirrored."""
        random = np.random.RandomState([self.seed, epoch])  # its stream is frozen (NEP 19)
        paths = self.stream.shards.paths
        order = [paths[k] for k in random.permutation(len(paths))]
        for sample in read_samples(order, self._is_learned, self.stream.buffer, random):
            yield sample, self.flip and random.random_sample() < 0.5

    def _is_learned(self, sample: Sample) -> bool:
        return not is_held_out(sample, self.holdout, self.seed)

    def decode(self, item: tuple[Sample, bool]) -> Pixels | Skipped:
        """A sample's pixels, or why it is not used."""
        sample, mirrored = item
        pixels = self.stream.decode(sample)
        return pixels[:, ::-1] if mirrored and not isinstance(pixels, tuple) else pixels


class SkipCounter:
    """The damaged images of an epoch: each is named once, and too many of them stop the run."""

    def __init__(self, stream: StreamingDataset) -> None:
        self._stream = stream
        self._epoch, self._passed, self._damaged = 0, 0, 0
        self._named: set[str] = set()

    def note(self, position: int, image: Pixels | Skipped | None) -> None:
        """Count the sample before `position`; `image` tells why, where it is damaged.

        Raises:
            DataError: too many are damaged, or all of an epoch.
        """
        epoch, before = divmod(position - 1, EPOCH)
        if epoch != self._epoch:
            if self._damaged == self._passed > 0:
                raise DataError(
                    f"none of the {self._passed} images in {self._stream.shards} is good"
                )
            self._epoch, self._damaged = epoch, 0
        self._passed = before + 1
        if isinstance(image, tuple):
            self._damaged += 1
            self._skip(image)

    def _skip(self, image: Skipped) -> None:
        stream = self._stream
        if image[0] not in self._named:
            self._named.add(image[0])
            stream.skipped.append(image)
            logger.warning("skipped %s: %s", *image)
        limit = DAMAGED_LIMIT * max(self._passed, SEEN_AT_LEAST)
        if self._damaged > limit and not stream.allow_damaged:
            raise DataError(
                f"{self._damaged} of {self._passed} images are damaged, the last of them in"
                f" {stream.skipped[-1][0]}. At most {DAMAGED_LIMIT:.0%} may be: mend them, or"
                " skip them all with --allow-damaged"
            )
