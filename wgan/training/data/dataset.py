"""Decoded images, in memory or mapped into it: what a run learns from."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from wgan.images import Pixels, evenly_spaced
from wgan.training.data.batches import Batches
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

Skipped = tuple[str, str]
"""An image's label, and why it is not used."""

Indices = npt.NDArray[np.int64]

Part = tuple[Pixels, list[Skipped]]
"""Some good images in their order, and the damaged ones that stood among them."""


@dataclass(frozen=True)
class InMemoryDataset:
    """All good images of a source."""

    pixels: Pixels  # [n, height, width, channels]
    skipped: list[Skipped]  # in the order of the source
    sha256: str  # of the pixels and their shape

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        """Bytes that the pixels take."""
        return self.pixels.nbytes

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
    ) -> Batches:
        """Batches without end, less the share that is held out. Raises what `Batches` does.

        Of each batch the `group`'s rows alone.
        """
        learned, _ = split(self.count, holdout, seed)
        return Batches(
            self.pixels,
            batch_size,
            seed,
            device,
            chosen=learned,
            flip=flip,
            resident=resident,
            rows=group.shard,
        )

    def train_and_holdout_samples(self, holdout: float, seed: int, n: int) -> tuple[Pixels, Pixels]:
        """At most `n` images that are learned from, and at most `n` that are held out.

        Both from all over the data: its beginning is often all of one class.
        """
        learned, held_out = split(self.count, holdout, seed)
        return self.pixels[_evenly(learned, n)], self.pixels[_evenly(held_out, n)]


def split(count: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Choose which of `count` images are learned from and which are held out, both in order.

    A function of the seed alone; `share` is rounded up to a whole image.
    """
    order = np.random.RandomState(seed).permutation(count)
    held = int(np.ceil(count * share))
    return np.sort(order[held:]), np.sort(order[:held])


def _evenly(indices: Indices, n: int) -> Indices:
    """At most `n` of `indices`, evenly spaced."""
    return indices[evenly_spaced(len(indices), min(n, len(indices)))]


def pixels_sha256(pixels: Pixels) -> str:
    """Name pixels by their contents: SHA-256 of the shape and the bytes, in hexadecimal."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()
