"""How the networks' weights are moved, and by how much at which step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig


def make_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of a network: Adam (fused, the same mathematics in fewer passes) or RMSprop."""
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), config.learning_rate)
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Let a CUDA graph hold the updates of an optimiser that has made none yet.

    The learning rate becomes a number on the device, where a graph reads it anew each time.
    """
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], device=device)


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give an optimiser the state that another had, perhaps on another kind of device.

    Its own options stay, the learning rate among them: they are those of the run's settings and
    of this device.
    """
    own = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of step `step`, counted from 1: constant, or falling linearly to 0.

    The WGAN-GP paper's code lets it fall over the whole of a CIFAR-10 run.
    """
    if config.decay_steps == 0:
        return config.learning_rate
    return config.learning_rate * max(0.0, 1 - (step - 1) / config.decay_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step be taken at `rate`, without a word from the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
