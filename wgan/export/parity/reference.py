"""What the EMA generator draws in PyTorch: the truth that every export is held against."""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wgan.errors import ExportError
from wgan.export.formats.tracing import network_errors
from wgan.images import Images, Pixels, to_pixels
from wgan.latents import latents_from_seeds

Latents = npt.NDArray[np.float32]
"""`[n, latent_dim]`."""

BATCH_SIZES = (1, 2, 3, 7, 64, 257)
"""Small ones, ones that are not powers of two, a common one, and one that fits no unrolled loop."""

CHUNK = 64
"""Images that PyTorch draws at a time."""


@dataclass(frozen=True)
class Reference:
    """The images of seeds 0, 1, 2, ... as PyTorch draws them on the CPU."""

    latents: Latents
    images: Images
    pixels: Pixels
    images64: npt.NDArray[np.float64]  # in float64, of the seeds in `batches` alone

    @classmethod
    def draw(cls, generator: nn.Module, latent_dim: int, seeds: int = sum(BATCH_SIZES)) -> Self:
        """Draw the images of `seeds` seeds, at least those that the batches need.

        Raises:
            ExportError: the generator's images are not finite, or it cannot draw.
        """
        drawn = latents_from_seeds(range(max(seeds, sum(BATCH_SIZES))), latent_dim)
        with network_errors("drawn from in batches"):
            images = _draw(generator, drawn)
        if not np.isfinite(images).all():
            raise ExportError(
                "the checkpoint's generator draws values that are not finite: its training"
                " diverged, so export an earlier checkpoint"
            )
        tried = drawn[: sum(BATCH_SIZES)].astype(np.float64)
        with network_errors("drawn from in float64, the referee of rounding"):
            images64 = _draw(copy.deepcopy(generator).double(), tried)
        return cls(drawn, images, to_pixels(images), images64)

    def batches(self) -> Iterator[slice]:
        """One batch of each size, each of its own seeds: 0, then 1 and 2, then 3 to 5, ..."""
        ends = [0, *itertools.accumulate(BATCH_SIZES)]
        return itertools.starmap(slice, itertools.pairwise(ends))

    def remaining(self) -> Iterator[slice]:
        """The seeds that are in none of `batches`, 64 at a time."""
        starts = range(sum(BATCH_SIZES), len(self.latents), CHUNK)
        return (slice(start, min(start + CHUNK, len(self.latents))) for start in starts)


def _draw(generator: nn.Module, drawn: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Draw images of the type that the generator and the latents have."""
    with torch.inference_mode():
        parts = [generator(part).numpy() for part in torch.from_numpy(drawn).split(CHUNK)]
    return np.concatenate(parts)
