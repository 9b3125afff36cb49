"""Watching for NaN and Inf: which tensor was the first, and at which step.

The values of each step stay on the device until someone asks, so that watching every step never
makes the host wait for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import TrainingDiverged
from wgan.training.loop import Players, Step

MOST_REMEMBERED = 1000
"""Steps after which someone must look, so that what is remembered stays small."""

ADVICE = "the last checkpoint is kept. Lower --learning-rate, or look at the data"


def parameter_gradient_norms(network: nn.Module) -> Tensor:
    """The norm of each parameter's gradient as the last update left it, `[parameters]`."""
    norms = torch._foreach_norm([_gradient(parameter) for parameter in network.parameters()])
    return torch.stack(norms)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return parameter.new_zeros(()) if parameter.grad is None else parameter.grad


class FiniteWatch:
    """Remembers what each step computed, in the order in which it was computed."""

    def __init__(self, players: Players) -> None:
        self._players = players
        self._rows: list[tuple[int, Tensor]] = []  # step, its values [names]
        self._names = [
            "the Wasserstein estimate",
            "the critic's gradient norm",
            "the gradient penalty",
            "the critic's loss",
            # A backward pass goes from the last layer to the first.
            *_gradient_names("critic", players.critic),
            "the generator's loss",
            *_gradient_names("generator", players.generator),
        ]

    def remember(self, step: Step) -> None:
        """Keep a step's values, on the device."""
        terms = step.critic
        critic = [terms.wasserstein, terms.gradient_norm, terms.gradient_penalty, terms.loss]
        row = [
            torch.stack(critic),
            parameter_gradient_norms(self._players.critic).flip(0),
            step.generator_loss[None],
            parameter_gradient_norms(self._players.generator).flip(0),
        ]
        self._rows.append((step.number, torch.cat(row)))

    @property
    def full(self) -> bool:
        """Whether it is time to look."""
        return len(self._rows) >= MOST_REMEMBERED

    def check(self) -> None:
        """Look at every step since the last look, and at the weights as they are; waits for them.

        Raises:
            TrainingDiverged: something is not finite; the message names the first step and, at
                that step, what was computed first.
        """
        rows, self._rows = self._rows, []
        values = torch.stack([row for _, row in rows]).cpu() if rows else torch.empty(0, 0)
        if not bool(values.isfinite().all()):
            at, which = (int(index) for index in (~values.isfinite()).nonzero()[0])
            number, value = rows[at][0], float(values[at, which])
            raise TrainingDiverged(
                f"training diverged: at step {number} {self._names[which]} is {value}; {ADVICE}"
            )
        name = first_not_finite(_state(self._players))
        if name is not None:
            after = f"after step {rows[-1][0]} " if rows else ""
            raise TrainingDiverged(f"training diverged: {after}{name} is not finite; {ADVICE}")


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a NaN or an Inf, or None; waits once."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    if not named:
        return None
    finite = torch.stack([tensor.isfinite().all() for _, tensor in named]).cpu()
    return next((name for (name, _), fine in zip(named, finite, strict=True) if not fine), None)


def _gradient_names(player: str, network: nn.Module) -> Iterator[str]:
    names = [name for name, _ in network.named_parameters()]
    return (f"the gradient of {player}.{name}" for name in reversed(names))


def _state(players: Players) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a checkpoint holds, by name."""
    networks = {
        "critic": players.critic,
        "generator": players.generator,
        "average": players.average,
    }
    for player, network in networks.items():
        for name, tensor in network.state_dict().items():
            yield f"{player}.{name}", tensor
    yield from _optimizer_state("critic", players.critic, players.critic_optimizer)
    yield from _optimizer_state("generator", players.generator, players.generator_optimizer)


def _optimizer_state(
    player: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in network.named_parameters():
        state: Mapping[str, Any] = optimizer.state.get(parameter, {})
        for key, value in state.items():
            if isinstance(value, Tensor):
                yield f"the optimiser's {key} of {player}.{name}", value
