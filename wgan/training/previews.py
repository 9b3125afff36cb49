"""Pictures of how far a run has come: always the same seeds, from the EMA generator."""

import numpy as np
import torch
from torch import nn

from wgan.images import Pixels, encode, grid, to_pixels
from wgan.latents import PREVIEW_SEEDS, latents


@torch.no_grad()
def draw_preview(average: nn.Module, latent_dim: int, device: torch.device) -> Pixels:
    """Draw seeds 0 to 63, `[64, height, width, channels]`, with a generator in eval mode."""
    assert not average.training, "in training mode a picture depends on its neighbours"
    drawn = average(torch.from_numpy(latents(PREVIEW_SEEDS, latent_dim)).to(device))
    return to_pixels(np.ascontiguousarray(drawn.float().cpu().numpy()))


def encode_preview(pixels: Pixels) -> bytes:
    """Lay pictures out in a grid and encode it as PNG."""
    return encode(grid(pixels))
