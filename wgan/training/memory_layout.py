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
from wgan.training.losses import critic_loss, generator_loss, gradient_norms, gradient_penalty
from wgan.training.networks import DCGANCritic, DCGANGenerator
from wgan.training.networks.resnet import ResNetCritic, ResNetGenerator

BUILT_IN_NETWORKS = (DCGANCritic, DCGANGenerator, ResNetCritic, ResNetGenerator)
"""Networks that take both."""


def run_once(
    generator: nn.Module, critic: nn.Module, config: TrainConfig, layout: torch.memory_format
) -> tuple[nn.Module, nn.Module]:
    """Take both losses of a step on copies of the networks, with their gradients, on the CPU.

    The critic's loss is that on two images, with its penalty, which is differentiated twice. Raises
    whatever the networks raise.

    Returns:
        The copies of the generator and the critic, whose parameters have gradients.
    """
    pair = [copy.deepcopy(each).cpu().to(memory_format=layout) for each in (generator, critic)]
    labels = (torch.zeros(2, dtype=torch.int64),) if config.classes else ()

    def score(images: Tensor) -> Tensor:
        scores: Tensor = pair[1](images, *labels)
        return scores

    with torch.random.fork_rng(devices=[]):
        generated: Tensor = pair[0](torch.randn(2, config.latent_dim), *labels)
        images = generated.detach().contiguous(memory_format=layout)
        loss = critic_loss(score(torch.rand_like(images) * 2 - 1), score(images.clone()))
        if config.has_penalty:
            loss = loss + gradient_penalty(gradient_norms(score, images))
        loss.backward()
        pair[1].requires_grad_(False)  # as in the generator's update
        generator_loss(score(generated.contiguous(memory_format=layout))).backward()
    return pair[0], pair[1]


def run_in_either_layout(
    generator: nn.Module, critic: nn.Module, config: TrainConfig
) -> tuple[tuple[nn.Module, nn.Module], str]:
    """As `run_once`, channels last or else contiguous; return the copies, and why not last."""
    try:
        return run_once(generator, critic, config, torch.channels_last), ""
    except Exception as exc:  # noqa: BLE001 - of any kind, from the user's code
        reason = first_line(exc, 150)
    return run_once(generator, critic, config, torch.contiguous_format), reason


def why_not_channels_last(generator: nn.Module, critic: nn.Module, config: TrainConfig) -> str:
    """Why the networks can only be trained in the other layout; empty if they take both."""
    if isinstance(generator, BUILT_IN_NETWORKS) and isinstance(critic, BUILT_IN_NETWORKS):
        return ""
    try:
        return run_in_either_layout(generator, critic, config)[1]
    except Exception:  # noqa: BLE001 - they fail in any layout: the training says how
        return ""


def make_contiguous(critic: nn.Module) -> None:
    """Let a critic see images in the usual order: those of the data have their channels last."""

    def contiguous(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0].contiguous(), *args[1:])

    critic.register_forward_pre_hook(contiguous)
