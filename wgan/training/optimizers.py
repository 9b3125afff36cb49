"""How the networks' weights are moved, and by how much at which step."""

import torch
from torch import nn

from wgan.training.config import TrainConfig


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a network: Adam (fused, the same mathematics in fewer passes) or RMSprop."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), config.learning_rate)
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step `step`, counted from 1: constant, or falling linearly to 0.

    The WGAN-GP paper's code lets it fall over the whole of a CIFAR-10 run.
    """
    if config.decay_steps == 0:
        return config.learning_rate
    return config.learning_rate * max(0.0, 1 - (step - 1) / config.decay_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
