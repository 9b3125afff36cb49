"""What a run tells about itself as it goes: metrics, previews, curves, trackers, diagnoses."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from wgan.errors import TrainingDiverged
from wgan.files import write_whole
from wgan.images import Pixels, grid
from wgan.memory import MIB, peak_memory
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.curves import draw_curves
from wgan.training.device import peak_device_memory
from wgan.training.diagnosis import diagnose, spread
from wgan.training.finite import FiniteWatch, parameter_gradient_norms
from wgan.training.history import History
from wgan.training.holdout import HeldOut
from wgan.training.loop import Players, Step
from wgan.training.metrics import Metrics, append_line, append_metrics, rewind_metrics
from wgan.training.previews import draw_preview, encode_preview
from wgan.training.trackers import Tracker

logger = logging.getLogger(__name__)


class Journal:
    """Keeps the files and trackers that say how a run goes."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        players: Players,
        sample: Pixels,
        held_out: HeldOut | None = None,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        """Write nothing yet.

        Args:
            run: where the files stand.
            config: the run's settings.
            players: what is trained.
            sample: some of the data's pictures, `[n, height, width, channels]`: previews are as
                diverse as they.
            held_out: scored at each logged step.
            trackers: told of all that is logged.
        """
        self._run, self._config, self._players = run, config, players
        self._held_out, self._trackers = held_out, trackers
        self._sample_spread = spread(sample)
        self._watch = FiniteWatch(players)
        self._history = History()
        self._clock = _Clock(0)

    def open(self, step: int) -> None:
        """Begin after `step`, forgetting what was written of later ones. Raises OutputError."""
        self._history = History(rewind_metrics(self._run.metrics, step))
        for tracker in self._trackers:
            tracker.start(step, self._players.generator, self._players.critic)
        self._clock = _Clock(step)

    def close(self, failed: bool = False) -> None:
        """Let the trackers write what is pending, and whether an error ended the run."""
        for tracker in self._trackers:
            tracker.close(failed)

    def note(
        self,
        step: Step,
        *,
        log: bool,
        preview: bool,
        save: bool,
        judge: Callable[[int], Mapping[str, float]] | None = None,
    ) -> Metrics | None:
        """Take note of a step.

        Args:
            step: it.
            log: write its figures; returns them.
            preview: draw a preview and the curves as well, and write the figures in any case.
            save: a checkpoint follows: look for NaN and Inf before.
            judge: gives further figures of the step; they are written in any case.

        Raises:
            TrainingDiverged: something is not finite at this step or at one since the last look.
            OutputError: something could not be written.
        """
        self._watch.remember(step)
        if log or preview or save or judge or self._watch.full:
            self.check(step.number)
        if not (log or preview or judge):
            return None
        judged = self._clock.leave_out(lambda: judge(step.number)) if judge else {}
        metrics = self._measure(step, self._save_preview(step.number) if preview else None)
        metrics = dataclasses.replace(metrics, fid=judged.get("fid"), kid=judged.get("kid"))
        self._history.add(metrics)
        metrics = dataclasses.replace(metrics, diagnosis=self._diagnose(metrics.step))
        append_metrics(self._run.metrics, metrics)
        for tracker in self._trackers:
            tracker.log(metrics)
        if preview or judge:
            write_whole(self._run.curves, draw_curves(self._history, title=self._run.path.name))
        return metrics

    def check(self, step: int) -> None:
        """Raise TrainingDiverged, and note it, when anything since the last look is not finite."""
        try:
            self._watch.check()
        except TrainingDiverged as exc:
            line = {"step": step, "diagnosis": {"not-finite": str(exc)}}
            append_line(self._run.metrics, line)
            raise

    def _save_preview(self, step: int) -> float | None:
        """Write the grid of seeds 0 to 63 as they look now; returns how diverse they are."""
        players = self._players
        pixels = draw_preview(players.average, self._config.latent_dim, players.device)
        write_whole(self._run.preview(step), encode_preview(pixels))
        for tracker in self._trackers:
            tracker.show(step, grid(pixels))
        return spread(pixels) / self._sample_spread if self._sample_spread > 0 else None

    def _measure(self, step: Step, diversity: float | None) -> Metrics:
        """Fetch a step's figures from the device, which waits for it."""
        seconds = self._clock.seconds_per_step(step.number)
        scores = self._held_out.score(self._players.critic) if self._held_out else None
        estimate = float(step.critic.wasserstein)
        penalty = self._config.has_penalty
        device_memory = peak_device_memory(self._players.device)
        memory = peak_memory()
        return Metrics(
            step=step.number,
            seconds_per_step=seconds,
            images_per_second=self._config.batch_size * self._config.n_critic / seconds,
            wasserstein=estimate,
            learned_score=scores.learned if scores else None,
            held_out_score=scores.held_out if scores else None,
            held_out_wasserstein=estimate - scores.gap if scores else None,
            gradient_penalty=float(step.critic.gradient_penalty) if penalty else None,
            critic_gradient_norm=float(step.critic.gradient_norm) if penalty else None,
            critic_loss=float(step.critic.loss),
            generator_loss=float(step.generator_loss),
            critic_weights_gradient=_norm(parameter_gradient_norms(self._players.critic)),
            generator_weights_gradient=_norm(parameter_gradient_norms(self._players.generator)),
            memory_mib=memory / MIB if memory else None,
            device_memory_mib=device_memory / MIB if device_memory else None,
            diversity=diversity,
        )

    def _diagnose(self, step: int) -> dict[str, str]:
        """What is found for the first time, by name; says it on standard error too."""
        players, config = self._players, self._config
        found = diagnose(
            self._history,
            players.critic,
            penalty=config.has_penalty,
            values=config.channels * config.size**2,
        )
        new = {f.name: f.words for f in found if f.name not in self._history.diagnosed}
        for name, words in new.items():
            logger.warning("step %d: %s", step, words)
            self._history.diagnosed[name] = step
        return new


def _norm(norms: Tensor) -> float:
    """The norm of a whole from the norms of its parts."""
    return float(torch.linalg.vector_norm(norms))


class _Clock:
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
        now = time.perf_counter()
        mean = (now - self.time) / (step - self.step)
        self.step, self.time = step, now
        return mean
