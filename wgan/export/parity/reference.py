"""The reference: the images that the EMA generator gives in PyTorch on the CPU."""

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
from wgan.export.formats import export_errors
from wgan.images import Images, Pixels, to_pixels
from wgan.latents import Latents, latents_from_seeds
from wgan.stop import check_stop

BATCH_SIZES = (1, 2, 3, 7, 64, 257)
"""Batch sizes of the proof: the smallest ones, which an exporter may have frozen; a common one; and
sizes that are not powers of two, whose remainders vectorised and unrolled loops handle apart."""

CHUNK = 64
"""Images that PyTorch generates at a time."""


@dataclass(frozen=True)
class Reference:
    """The images of seeds 0, 1, 2, ... from PyTorch on the CPU.

    float32 is what users of PyTorch get. float64 is the referee: without it, an export could pass
    whose error happens to lie on the same side as PyTorch's own rounding.
    """

    latents: Latents
    images: Images
    pixels: Pixels
    images64: npt.NDArray[np.float64]  # of the seeds in `batches` only

    @classmethod
    def draw(cls, generator: nn.Module, latent_dim: int, seeds: int = sum(BATCH_SIZES)) -> Self:
        """Generate the images of `seeds` seeds, or of all that `batches` needs if that is more.

        Raises:
            ExportError: the generator fails, or an image is not finite.
        """
        latents = latents_from_seeds(range(max(seeds, sum(BATCH_SIZES))), latent_dim)
        with export_errors("run on batches of latents"):
            images = _generate(generator, latents)
        if not np.isfinite(images).all():
            raise ExportError(
                "the generator's images are not finite, because the training diverged: export an"
                " earlier checkpoint, with  --checkpoint STEP"
            )
        with export_errors("run in float64"):
            images64 = _generate(
                copy.deepcopy(generator).double(), latents[: sum(BATCH_SIZES)].astype(np.float64)
            )
        return cls(latents, images, to_pixels(images), images64)

    def batches(self) -> Iterator[slice]:
        """One batch of each size, no seed twice: seed 0, seeds 1 and 2, seeds 3 to 5, ..."""
        ends = [0, *itertools.accumulate(BATCH_SIZES)]
        return itertools.starmap(slice, itertools.pairwise(ends))

    def remaining(self) -> Iterator[slice]:
        """The seeds that are not in `batches`, 64 at a time."""
        starts = range(sum(BATCH_SIZES), len(self.latents), CHUNK)
        return (slice(start, min(start + CHUNK, len(self.latents))) for start in starts)


def _generate(generator: nn.Module, latents: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Generate images in the precision that the generator and the latents have."""
    with torch.inference_mode():
        parts = []
        for part in torch.from_numpy(latents).split(CHUNK):
            check_stop()
            parts.append(generator(part).numpy())
    return np.concatenate(parts)
