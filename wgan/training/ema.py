"""An exponential moving average of the generator's weights: previews and exports draw with it."""

import copy
from typing import TypeVar

import torch
from torch import nn

RAMP_UP = 0.05
"""While a run is young, the half-life is at most this share of the images seen so far."""

Module = TypeVar("Module", bound=nn.Module)


def averaged_copy(network: Module) -> Module:
    """A copy in eval mode that takes no gradients, to be moved by `update_average`."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def ema_decay(half_life: int, images_seen: int, batch_size: int) -> float:
    """The share of the old average that stays after a step.

    A half-life in images, with a ramp at the start, as in Karras et al. 2020 (StyleGAN2,
    appendix B, and its code): it means the same at any batch size, and an early average is not
    held back by the untrained weights. A half-life of 0 keeps nothing.
    """
    effective = min(float(half_life), images_seen * RAMP_UP)
    return 0.5 ** (batch_size / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average's parameters towards the network's; copy its buffers.

    Batch norm's running statistics are such buffers: an average without them draws wrong images
    in eval mode.
    """
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for old, new in zip(average.buffers(), network.buffers(), strict=True):
        old.copy_(new)
