"""A step's figures, from the moment they are asked of the device to that when they are numbers."""

import time
from collections.abc import Callable, Mapping

import torch

from wgan.memory import MIB, peak_memory
from wgan.training.config import TrainConfig
from wgan.training.device import peak_device_memory
from wgan.training.loop import Step, TrainState
from wgan.training.monitoring.fetch import Fetched
from wgan.training.monitoring.finite import parameter_gradient_norms
from wgan.training.monitoring.holdout import HeldOut, Scores
from wgan.training.monitoring.metrics import Metrics


class Clock:
    """Time since the last look, shared out over the steps between."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def leave_out(self, work: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        """Do some work whose time is no step's."""
        begin = time.perf_counter()
        result = work()
        self.time += time.perf_counter() - begin
        return result

    def seconds_per_step(self, step: int) -> float:
        """Mean since the last call, or since the clock was set."""
        now = time.perf_counter()
        mean = (now - self.time) / (step - self.step)
        self.step, self.time = step, now
        return mean


class Measured:
    """What a step computed, on its way to the host in one copy."""

    def __init__(
        self, step: Step, players: TrainState, clock: Clock, held_out: HeldOut | None
    ) -> None:
        """Ask the device, without waiting for it."""
        self._step, self._device = step.number, players.device
        self._seconds = clock.seconds_per_step(step.number)
        terms = step.critic
        values = [
            terms.wasserstein,
            terms.gradient_penalty,
            terms.gradient_norm,
            terms.loss,
            step.generator_loss,
            # The norm of a whole from the norms of its parts.
            torch.linalg.vector_norm(parameter_gradient_norms(players.critic)),
            torch.linalg.vector_norm(parameter_gradient_norms(players.generator)),
        ]
        scores = [] if held_out is None else list(held_out.means(players.critic))
        self._values = Fetched(torch.stack(values + scores))

    def metrics(self, config: TrainConfig, diversity: float | None) -> Metrics:
        """The figures; waits for those that are still on their way."""
        values = self._values.values().tolist()
        estimate, penalty, norm, critic_loss, generator_loss, critic_pull, generator_pull = values[
            :7
        ]
        scores = Scores(*values[7:]) if values[7:] else None
        device_memory, memory = peak_device_memory(self._device), peak_memory()
        return Metrics(
            step=self._step,
            seconds_per_step=self._seconds,
            images_per_second=config.batch_size * config.n_critic / self._seconds,
            wasserstein=estimate,
            learned_score=scores.learned if scores else None,
            held_out_score=scores.held_out if scores else None,
            held_out_wasserstein=estimate - scores.gap if scores else None,
            gradient_penalty=penalty if config.has_penalty else None,
            critic_gradient_norm=norm if config.has_penalty else None,
            critic_loss=critic_loss,
            generator_loss=generator_loss,
            critic_weights_gradient=critic_pull,
            generator_weights_gradient=generator_pull,
            memory_mib=memory / MIB if memory else None,
            device_memory_mib=device_memory / MIB if device_memory else None,
            diversity=diversity,
        )
