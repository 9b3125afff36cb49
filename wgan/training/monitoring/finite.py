"""Watching for NaN and Inf: which tensor was the first, and at which step.

The values of each step stay on the device until someone asks, so that watching every step never
makes the host wait for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import TrainingDiverged
from wgan.training.loop import Step, TrainState
from wgan.training.monitoring.fetch import Fetched

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

    def __init__(self, players: TrainState) -> None:
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

    def look(self) -> "Look":
        """Look at every step since the last look, and at the weights as they are.

        What is seen comes to the host meanwhile: `Look.check` waits for it.
        """
        rows, self._rows = self._rows, []
        return Look([number for number, _ in rows], self._names, [row for _, row in rows],
                    list(_state(self._players)))  # fmt: skip

    def check(self) -> None:
        """Look, and wait for what is seen. Raises TrainingDiverged, as `Look.check` does."""
        self.look().check()


class Look:
    """What was seen of some steps and of the weights after the last of them."""

    def __init__(
        self,
        steps: list[int],
        names: list[str],
        rows: list[Tensor],
        state: list[tuple[str, Tensor]],
    ) -> None:
        """Ask the device, without waiting for it.

        Args:
            steps: their numbers.
            names: what a row holds.
            rows: a step's values, `[names]`, for each step.
            state: every tensor that a checkpoint would hold, by its name.
        """
        self._steps, self._names = steps, names
        self._values = Fetched(torch.stack(rows)) if rows else None
        self._state, finite = _finite(state)
        self._finite = Fetched(finite)

    def check(self) -> None:
        """Wait for what was asked, and judge it.

        Raises:
            TrainingDiverged: something is not finite; the message names the first step and, at
                that step, what was computed first.
        """
        if self._values is not None:
            values = self._values.values()
            if not bool(values.isfinite().all()):
                at, which = (int(index) for index in (~values.isfinite()).nonzero()[0])
                number, value = self._steps[at], float(values[at, which])
                raise TrainingDiverged(
                    f"training diverged: at step {number} {self._names[which]} is {value}; {ADVICE}"
                )
        name = _first_false(self._state, self._finite.values())
        if name is not None:
            after = f"after step {self._steps[-1]} " if self._steps else ""
            raise TrainingDiverged(f"training diverged: {after}{name} is not finite; {ADVICE}")


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a NaN or an Inf, or None; waits once."""
    names, finite = _finite(tensors)
    return _first_false(names, finite.cpu())


def _finite(tensors: Iterable[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    """The names of those that can be anything else, and whether each is finite, `[names]`."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point()]
    flags = [tensor.isfinite().all() for _, tensor in named]
    return [name for name, _ in named], torch.stack(flags) if flags else torch.empty(0)


def _first_false(names: list[str], flags: Tensor) -> str | None:
    return next((name for name, fine in zip(names, flags, strict=True) if not fine), None)


def _gradient_names(player: str, network: nn.Module) -> Iterator[str]:
    names = [name for name, _ in network.named_parameters()]
    return (f"the gradient of {player}.{name}" for name in reversed(names))


def _state(players: TrainState) -> Iterator[tuple[str, Tensor]]:
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
