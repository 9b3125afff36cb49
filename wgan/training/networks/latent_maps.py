"""Generators whose latents are maps of one pixel, `[n, latent_dim, 1, 1]`, as DCGAN's often are."""

import copy

import torch
from torch import Tensor, nn


class FlatLatents(nn.Module):
    """A generator of latents `[n, z]` by one of latents `[n, z, 1, 1]`."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        """`[n, z]`, and labels `[n]` in a conditional run -> `[n, c, h, w]`."""
        images: Tensor = self.module(latents[:, :, None, None], *labels)
        return images


def with_flat_latents(generator: nn.Module, latent_dim: int, classes: int) -> nn.Module:
    """Return `generator`, which takes `[n, latent_dim]`, or a `FlatLatents` of it if it does not.

    Which it is shows when a copy runs on two latents, on the CPU. One that takes neither stays.
    """
    latents = torch.zeros(2, latent_dim)
    labels = (torch.zeros(2, dtype=torch.int64),) if classes else ()
    for made in (generator, FlatLatents(generator)):
        try:
            with torch.no_grad():
                copy.deepcopy(made).eval()(latents, *labels)
        except Exception:  # noqa: BLE001, S112 - of any kind, from the user's code
            continue
        return made
    return generator
