"""Numbers of each training step: losses, gradient norms, scores, and the first NaN or Inf.

The device keeps one row of numbers per step. `StepStats.copy` sends all rows to the host in a
single copy, so recording a step never makes the host wait for the device.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wgan.errors import TrainingDiverged
from wgan.training.data.batches import Batch, Examples
from wgan.training.loop import Step
from wgan.training.state import TrainState

MAX_ROWS = 1000
"""Steps after which the rows have to be copied and dropped, to bound their memory."""

MAX_SCORED = 256
"""At most this many images of each kind are scored at a logged step."""


def gradient_norms_of(network: nn.Module) -> Tensor:
    """Euclidean norm of each parameter's gradient after the last update, `[parameters]`.

    A parameter without a gradient has norm 0.
    """
    gradients = [p.new_zeros(()) if p.grad is None else p.grad for p in network.parameters()]
    return torch.stack(torch._foreach_norm(gradients))


class _Row:
    """The numbers of a step in the order of computation: the first non-finite one is the cause."""

    def __init__(self, state: TrainState) -> None:
        critic, generator = (
            # A backward pass goes from the last layer to the first.
            [f"the gradient of {network}.{name}" for name, _ in module.named_parameters()][::-1]
            for network, module in (("critic", state.critic), ("generator", state.generator))
        )
        losses = [
            "the Wasserstein estimate",
            "the critic's gradient norm",
            "the gradient penalty",
            "the critic's loss",
        ]
        self.names = [*losses, *critic, "the generator's loss", *generator]
        end = len(losses) + len(critic)
        self.critic = slice(len(losses), end)  # gradient norms of the critic's parameters
        self.generator = slice(end + 1, len(self.names))


class StepStats:
    """Losses and gradient norms of the steps since the last copy, on the device."""

    def __init__(self, state: TrainState) -> None:
        self._state, self._row = state, _Row(state)
        self._steps: list[int] = []
        self._rows: list[Tensor] = []  # [names] for each step

    def record(self, step: Step) -> None:
        """Keep the step's numbers on the device."""
        losses = step.critic
        row = [
            torch.stack([losses.wasserstein, losses.gradient_norm,
                         losses.gradient_penalty, losses.loss]),
            gradient_norms_of(self._state.critic).flip(0),  # in the order of the backward pass
            step.generator_loss[None],
            gradient_norms_of(self._state.generator).flip(0),
        ]  # fmt: skip
        self._steps.append(step.number)
        self._rows.append(torch.cat(row))

    @property
    def is_full(self) -> bool:
        """Whether `copy` is due to bound the memory."""
        return len(self._rows) >= MAX_ROWS

    def copy(self, scores: Tensor | None = None) -> "CopiedStats":
        """Begin to copy the rows to the host, and drop them here; does not wait.

        `scores`, further numbers of the last step, `[n]`, are sent along.
        """
        steps, rows = self._steps, self._rows
        self._steps, self._rows = [], []
        tensors = dict(_tensors(self._state))
        # A flag for each tensor: only these, not the tensors, travel to the host.
        flags = torch.stack([tensor.isfinite().all() for tensor in tensors.values()])
        parts = [*rows, flags] if scores is None else [*rows, flags, scores]
        vector = torch.cat([part.float() for part in parts])
        return CopiedStats(vector, steps, self._row, list(tensors))


class CopiedStats:
    """The numbers of some steps on their way to the host; reading one waits for their arrival."""

    def __init__(
        self, vector: Tensor, steps: list[int], row: _Row, tensor_names: list[str]
    ) -> None:
        """Begin to copy `vector`: a row for each step, a flag for each tensor, scores."""
        self._steps, self._row, self._tensor_names = steps, row, tensor_names
        self._arrived: torch.cuda.Event | None = None
        if vector.device.type == "cuda":
            # Only into page-locked memory does a copy run while the host works on.
            self._host = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True)
            self._host.copy_(vector, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(vector.device))
        else:
            self._host = vector.detach().cpu()

    def check_finite(self) -> None:
        """Check every number of every step, then every tensor after the last step.

        Raises:
            TrainingDiverged: one is NaN or Inf; the message names the first step and, at that
                step, the number that was computed first.
        """
        rows = self._rows()
        if not bool(rows.isfinite().all()):  # nonzero goes row by row: the first one is the cause
            row, column = (int(index) for index in (~rows.isfinite()).nonzero()[0])
            raise TrainingDiverged(
                f"training diverged: at step {self._steps[row]} {self._row.names[column]} is"
                f" {float(rows[row, column])}"
            )
        flags = self._wait()[rows.numel() :][: len(self._tensor_names)]
        for name, is_finite in zip(self._tensor_names, flags.tolist(), strict=True):
            if not is_finite:
                after = f"after step {self._steps[-1]} " if self._steps else ""
                raise TrainingDiverged(f"training diverged: {after}{name} is not finite")

    @property
    def losses(self) -> tuple[float, float, float, float, float]:
        """Of the last step: Wasserstein estimate, gradient norm, penalty, both losses."""
        row = self._rows()[-1]
        wasserstein, norm, penalty, critic_loss = row[:4].tolist()
        return wasserstein, norm, penalty, critic_loss, float(row[self._row.critic.stop])

    @property
    def gradient_norms(self) -> list[float]:
        """Norms of the critic's and of the generator's whole gradient at the last step."""
        row, parts = self._rows()[-1], (self._row.critic, self._row.generator)
        return [float(torch.linalg.vector_norm(row[part])) for part in parts]

    @property
    def scores(self) -> list[float]:
        """The numbers that were sent along."""
        before = self._rows().numel() + len(self._tensor_names)
        numbers: list[float] = self._wait()[before:].tolist()
        return numbers

    def _rows(self) -> Tensor:
        length = len(self._steps) * len(self._row.names)
        return self._wait()[:length].view(len(self._steps), len(self._row.names))

    def _wait(self) -> Tensor:
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host


@dataclass(frozen=True)
class HoldoutImages:
    """A fixed sample of training images and of held-out ones, on the device.

    The critic never trains on held-out images: they show when it overfits.
    """

    train: Batch
    holdout: Batch

    @classmethod
    def of(cls, train: Examples, holdout: Examples, device: torch.device) -> Self | None:
        """Put both samples on the device; None if no image is held out."""
        if len(holdout.pixels) == 0:
            return None
        return cls(train.to_batch(device), holdout.to_batch(device))

    @torch.no_grad()
    def holdout_scores(self, critic: nn.Module) -> Tensor:
        """Mean critic score of the training and of the held-out images, `[2]`, on the device.

        The gap between them is about 0 unless the critic overfits. The critic is left as it was:
        no gradient, no running statistics.
        """
        was_training = critic.training  # eval mode keeps a batch norm's statistics
        critic.eval()
        means = torch.stack([critic(*each.inputs).mean() for each in (self.train, self.holdout)])
        critic.train(was_training)
        return means


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every floating-point tensor of a checkpoint, by name."""
    networks = {
        "critic": state.critic,
        "generator": state.generator,
        "generator_ema": state.generator_ema,
    }
    for network_name, network in networks.items():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                yield f"{network_name}.{name}", tensor
    optimizers = {"critic": state.critic_optimizer, "generator": state.generator_optimizer}
    for network_name, optimizer in optimizers.items():
        for name, parameter in networks[network_name].named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                # Some optimisers count their steps on the host; a counter stays finite.
                is_here = isinstance(value, Tensor) and value.device.type == state.device.type
                if is_here and value.is_floating_point():
                    yield f"the optimiser's {key} of {network_name}.{name}", value
