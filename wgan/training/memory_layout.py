"""Whether networks can be trained with their channels last in memory, and in the other layout.

Convolutions are fastest with channels last, on CPUs and GPUs. Networks of other projects may lack
what that needs: `view` after a convolution, parameters of five axes.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from wgan.text import first_line
from wgan.training.config import TrainConfig
from wgan.training.networks import DCGANCritic, DCGANGenerator, ResizeConvGenerator
from wgan.training.networks.resnet import ResNetCritic, ResNetGenerator

BUILT_IN = (DCGANCritic, DCGANGenerator, ResizeConvGenerator, ResNetCritic, ResNetGenerator)
"""Networks that take both."""


def run_once(
    generator: nn.Module, critic: nn.Module, config: TrainConfig, layout: torch.memory_format
) -> None:
    """Run copies of the networks on two images, forward and backward, on the CPU.

    Raises whatever the networks raise.
    """
    pair = [copy.deepcopy(each).cpu().to(memory_format=layout) for each in (generator, critic)]
    labels = (torch.zeros(2, dtype=torch.int64),) if config.classes else ()
    with torch.random.fork_rng(devices=[]):
        images: Tensor = pair[0](torch.randn(2, config.latent_dim), *labels)
        pair[1](images.contiguous(memory_format=layout), *labels).mean().backward()


def why_not_channels_last(generator: nn.Module, critic: nn.Module, config: TrainConfig) -> str:
    """Why the networks can only be trained in the other layout; empty if they take both."""
    if isinstance(generator, BUILT_IN) and isinstance(critic, BUILT_IN):
        return ""
    try:
        run_once(generator, critic, config, torch.channels_last)
    except Exception as exc:  # noqa: BLE001 - of any kind, from the user's code
        reason = first_line(exc, 150)
    else:
        return ""
    try:
        run_once(generator, critic, config, torch.contiguous_format)
    except Exception:  # noqa: BLE001 - they fail in any layout: the training says how
        return ""
    return reason


def make_contiguous(critic: nn.Module) -> None:
    """Let a critic see images in the usual order: those of the data have their channels last."""

    def contiguous(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    critic.register_forward_pre_hook(contiguous)
