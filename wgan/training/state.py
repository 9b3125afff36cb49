"""The training state (networks, EMA, optimisers, random state), and what updates it in a step."""

import copy
import dataclasses
import logging
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from wgan.host import need_no_temporary_folder
from wgan.training.config import TrainConfig
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from wgan.training.distributed.sync_batch_norm import convert_sync_batchnorm
from wgan.training.memory_layout import make_contiguous, why_not_channels_last

EMA_RAMP_UP = 0.05
"""Early in a run, the EMA's half-life is at most this fraction of the images seen so far."""

logger = logging.getLogger("wgan")

Network = TypeVar("Network", bound=nn.Module)


class TrainState:
    """Everything that a training step changes.

    Attributes:
        generator: maps latents `[n, latent_dim]` to images.
        critic: maps images to scores `[n]`.
        generator_ema: the generator with averaged weights, in eval mode.
        generator_optimizer, critic_optimizer: Adam or RMSprop.
        rng: source of latents and epsilon, on the device.
        device: where all of it is.
        group: the processes that share each batch.

    Images may be `[n, ...]` of any shape.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        config: TrainConfig,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        layout = torch.channels_last
        reason = why_not_channels_last(generator, critic, config)
        generator = convert_sync_batchnorm(generator, group.size)
        critic = convert_sync_batchnorm(critic, group.size)
        if reason:
            layout = torch.contiguous_format
            make_contiguous(critic)
            if group.is_main:
                logger.warning("channels are not last in memory, for the networks: %s", reason)
        self.generator = generator.to(device).to(memory_format=layout).train()
        self.critic = critic.to(device).to(memory_format=layout).train()
        self.generator_ema = make_ema(generator)
        self.generator_optimizer = make_optimizer(generator, config)
        self.critic_optimizer = make_optimizer(critic, config)
        self.rng = torch.Generator(device).manual_seed(config.seed)
        self.device = device
        self.group = group


def make_ema(network: Network) -> Network:
    """Copy a network in eval mode, without gradients; `update_ema` moves its weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def ema_decay(half_life: int, images_seen: int, batch_size: int) -> float:
    """Fraction of the old average that remains after a step.

    The half-life is in images, so it means the same at any batch size. It ramps up at the start, so
    that untrained weights are forgotten soon (Karras et al. 2020, StyleGAN2, and its code). A
    half-life of 0 turns averaging off.
    """
    effective = min(float(half_life), images_seen * EMA_RAMP_UP)
    return 0.5 ** (batch_size / effective) if effective > 0 else 0.0


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the EMA's parameters towards the network's; copy its buffers.

    Batch norm's running statistics are buffers: without them, eval mode gives wrong images.
    """
    # One kernel launch for all parameters: lerp_ of each would cost more than it computes.
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1 - decay)
    for old, new in zip(ema.buffers(), network.buffers(), strict=True):
        old.copy_(new)


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser of a network: Adam (fused: fewer passes, same update) or RMSprop."""
    need_no_temporary_folder()
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), config.learning_rate)
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def at_step(config: TrainConfig, step: int) -> TrainConfig:
    """Return the settings of a step, counted from 1: what its schedule has made of them.

    linear: the learning rate falls to 0, as in the WGAN-GP paper's code. r3gan: over half a cosine,
    the learning rate falls to a quarter and the penalty's weight to a tenth, beta2 rises to 0.99
    and the EMA's half-life from 0, as in the code of Huang et al. 2024.
    """
    if config.decay_length == 0:
        return config
    done = min(1.0, (step - 1) / config.decay_length)
    if config.schedule == "linear":
        return dataclasses.replace(config, learning_rate=config.learning_rate * (1 - done))
    left = (1 + math.cos(math.pi * done)) / 2
    return dataclasses.replace(
        config,
        learning_rate=config.learning_rate * (1 + 3 * left) / 4,
        gp_weight=config.gp_weight * (1 + 9 * left) / 10,
        beta2=0.99 + (config.beta2 - 0.99) * left,
        ema_half_life=round(config.ema_half_life * (1 - left)),
    )


def set_rates(optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
    """Set the learning rate and betas of the next step, without a CPU-GPU sync."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):  # read by a CUDA graph: it must stay the same tensor
            group["lr"].fill_(config.learning_rate)
        else:
            group["lr"] = config.learning_rate
        if "betas" in group:
            group["betas"] = (config.beta1, config.beta2)
