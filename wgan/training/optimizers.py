"""Optimisers and learning rates."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Make the optimiser of a network: Adam (fused: fewer passes, same update) or RMSprop."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), config.learning_rate)
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Prepare an optimiser that has no state yet for capture in a CUDA graph.

    The learning rate becomes a tensor on the device, which each replay reads.
    """
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], device=device)


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Load the state of another optimiser, which may be from another type of device.

    The options, such as the learning rate, stay: they come from the run's settings and device.
    """
    own = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})


def learning_rate(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step, counted from 1: constant, or linear decay to 0.

    The WGAN-GP paper's code decays it over a whole CIFAR-10 run.
    """
    if config.decay_steps == 0:
        return config.learning_rate
    return config.learning_rate * max(0.0, 1 - (step - 1) / config.decay_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, without a CPU-GPU sync."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
