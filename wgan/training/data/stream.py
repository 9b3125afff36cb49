"""Training from shards as they stand on disk: for data that is more than memory, or than a cache.

The `webdataset` library reads the shards and shuffles them: the shards' order anew in each epoch,
then the pictures in a buffer. Both are functions of the seed and the epoch, so a resumed run goes
on with the very picture that would have come next. To get there it reads the epoch's shards from
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

from wgan.errors import DataError, PictureError, UsageError
from wgan.images import Pixels
from wgan.training.data.batches import to_batch
from wgan.training.data.decode import decode
from wgan.training.data.decoded import Skipped
from wgan.training.data.parallel import in_threads, quiet_pillow
from wgan.training.data.pictures import DAMAGED_LIMIT
from wgan.training.data.shards import Sample, Shards, picture_file, read_samples
from wgan.training.data.transform import Transform

logger = logging.getLogger(__name__)

BUFFER = 5_000
"""Encoded pictures among which the next one is drawn."""

EPOCH = 2**40
"""A position is the epoch times this, plus the pictures that were passed in it."""

SEEN_AT_LEAST = 1_000
"""The share of damaged pictures is taken of at least so many: the first may be one of them."""


@dataclass(frozen=True)
class Stream:
    """What a run learns from when it streams shards; stands where `Pictures` would."""

    shards: Shards
    transform: Transform
    allow_damaged: bool = False
    buffer: int = BUFFER
    skipped: list[Skipped] = field(default_factory=list)  # grows while it streams; each is logged

    @property
    def count(self) -> int | None:
        """How many pictures there are; None where no index says so."""
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
    ) -> "StreamedBatches":
        """Batches without end, less the share that is held out.

        Raises:
            UsageError: they are to be `resident` on the device: a stream is too much for that.
        """
        if resident:
            raise UsageError(
                "--data-on-device yes: shards are streamed and never all there; run with auto"
            )
        pictures = StreamedPictures(self, seed, flip, holdout)
        return StreamedBatches(pictures, batch_size, device)

    def handfuls(self, holdout: float, seed: int, n: int) -> tuple[Pixels, Pixels]:
        """The first `n` pictures that are learned from, and the first `n` that are held out."""
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
            return self.transform(decode(io.BytesIO(picture_file(sample))))
        except PictureError as exc:
            return f"{sample['__url__']}: {sample['__key__']}", str(exc)


def is_held_out(sample: Sample, share: float, seed: int) -> bool:
    """Whether a sample is held out: by a hash of the seed, its shard's name and its own.

    The share is met on the average: how many samples there are need not be known.
    """
    name = f"{seed} {Path(sample['__url__']).name} {sample['__key__']}"
    return zlib.crc32(name.encode()) < share * 2**32


class StreamedBatches:
    """Batches without end; as `Batches`, but a batch may end one epoch and begin the next."""

    def __init__(self, pictures: "StreamedPictures", batch_size: int, device: torch.device) -> None:
        self._pictures, self._batch_size, self._device = pictures, batch_size, device
        self.drawn = 0

    @property
    def drawn(self) -> int:
        """The whole position in the data, to be set on a resume: epoch * EPOCH + pictures."""
        return self._drawn

    @drawn.setter
    def drawn(self, position: int) -> None:
        self._drawn = position
        self._ahead = self._pictures.since(position)

    def next(self) -> Tensor:
        """Draw a batch: float32 `[batch, c, h, w]` in [-1, 1], channels last, on the device.

        Raises:
            DataError: a shard is damaged, too many pictures are, or there is none.
        """
        batch = []
        with quiet_pillow():
            for _ in range(self._batch_size):
                self._drawn, pixels = next(self._ahead)
                batch.append(pixels)
        return to_batch(np.stack(batch), self._device)


@dataclass(frozen=True)
class StreamedPictures:
    """The pictures of a stream in their order, without end.

    The order depends on the seed, the shards, the buffer's size, and `flip` and `holdout`.
    """

    stream: Stream
    seed: int
    flip: bool  # mirror half of them, at random
    holdout: float  # the share that is left out

    def since(self, position: int) -> Iterator[tuple[int, Pixels]]:
        """The good pictures from `position` on, each with the position that follows it.

        Raises:
            DataError: a shard is damaged, too many pictures are, or there is none.
        """
        epoch, passed = divmod(position, EPOCH)
        named: set[str] = set()
        while True:
            damaged = 0
            samples = itertools.islice(self._samples(epoch), passed, None)
            for picture in in_threads(self._decode, samples):
                passed += 1
                if isinstance(picture, tuple):
                    damaged += 1
                    self._skip(picture, named)
                    self._check_damage(damaged, passed)
                else:
                    yield epoch * EPOCH + passed, picture
            if damaged == passed:
                raise DataError(f"none of the {passed} pictures in {self.stream.shards} is good")
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

    def _decode(self, item: tuple[Sample, bool]) -> Pixels | Skipped:
        sample, mirrored = item
        pixels = self.stream.decode(sample)
        return pixels[:, ::-1] if mirrored and not isinstance(pixels, tuple) else pixels

    def _skip(self, picture: Skipped, named: set[str]) -> None:
        if picture[0] not in named:
            named.add(picture[0])
            self.stream.skipped.append(picture)
            logger.warning("skipped %s: %s", *picture)

    def _check_damage(self, damaged: int, passed: int) -> None:
        limit = DAMAGED_LIMIT * max(passed, SEEN_AT_LEAST)
        if damaged > limit and not self.stream.allow_damaged:
            raise DataError(
                f"{damaged} of {passed} pictures are damaged, the last of them in"
                f" {self.stream.skipped[-1][0]}. At most {DAMAGED_LIMIT:.0%} may be: mend them, or"
                " skip them all with --allow-damaged"
            )
