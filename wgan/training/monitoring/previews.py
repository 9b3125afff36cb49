"""Images of how far a run has come: always the same seeds, from the EMA generator."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from wgan.images import Pixels, encode, grid, to_pixels
from wgan.latents import PREVIEW_SEEDS, latents_from_seeds

Draw = Callable[[range], Iterator[Pixels]]
"""The images of seeds, `[n, height, width, channels]` at a time, in their order."""


def draw_preview(average: nn.Module, latent_dim: int, device: torch.device) -> Pixels:
    """Draw seeds 0 to 63, `[64, height, width, channels]`, with a generator in eval mode."""
    return draw_pixels(average, latent_dim, device, PREVIEW_SEEDS)


@torch.no_grad()
def draw_pixels(
    average: nn.Module, latent_dim: int, device: torch.device, seeds: Sequence[int]
) -> Pixels:
    """Draw images of seeds in one run, `[n, height, width, channels]`; as `draw_preview`."""
    assert not average.training, "in training mode an image depends on its neighbours"
    drawn = average(torch.from_numpy(latents_from_seeds(seeds, latent_dim)).to(device))
    return to_pixels(np.ascontiguousarray(drawn.float().cpu().numpy()))


def drawing(average: nn.Module, latent_dim: int, device: torch.device, batch_size: int) -> Draw:
    """Draw with a generator in eval mode, as it is then, `batch_size` images at a time."""

    def draw(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), batch_size):
            yield draw_pixels(average, latent_dim, device, seeds[first : first + batch_size])

    return draw


def encode_preview(pixels: Pixels) -> bytes:
    """Lay images out in a grid and encode it as PNG."""
    return encode(grid(pixels))
