"""Previews: the images of fixed seeds, from the EMA generator."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from wgan.images import Pixels, to_pixels
from wgan.latents import latents_from_seeds

GenerateFn = Callable[[range], Iterator[Pixels]]
"""Seeds -> their images in order, `[n, height, width, channels]` at a time."""


@torch.no_grad()
def generate_pixels(
    generator_ema: nn.Module,
    latent_dim: int,
    device: torch.device,
    seeds: Sequence[int],
    classes: int = 0,
) -> Pixels:
    """Generate the images of `seeds` in one batch, `[n, height, width, channels]`.

    The generator has to be in eval mode: otherwise an image depends on its batch. A conditional one
    has a number of `classes`: the label of a seed is `seed % classes`.
    """
    assert not generator_ema.training, "previews need eval mode"
    inputs = [torch.from_numpy(latents_from_seeds(seeds, latent_dim)).to(device)]
    if classes:
        inputs.append(torch.tensor([seed % classes for seed in seeds], device=device))
    images = generator_ema(*inputs)  # (n, latent_dim) -> (n, c, h, w)
    return to_pixels(np.ascontiguousarray(images.float().cpu().numpy()))


def generate_fn(
    generator_ema: nn.Module,
    latent_dim: int,
    device: torch.device,
    batch_size: int,
    classes: int = 0,
) -> GenerateFn:
    """Return a function from seeds to the images of the generator as it is then.

    `classes` is as for `generate_pixels`.
    """

    def generate(seeds: range) -> Iterator[Pixels]:
        for first in range(0, len(seeds), batch_size):
            batch = seeds[first : first + batch_size]
            yield generate_pixels(generator_ema, latent_dim, device, batch, classes)

    return generate
