"""What a run tells about itself as it goes: metrics, previews, curves, trackers, diagnoses."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from wgan.errors import TrainingDiverged
from wgan.files import write_whole
from wgan.images import Pixels, grid
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.loop import Step, TrainState
from wgan.training.monitoring.curves import draw_curves
from wgan.training.monitoring.diagnosis import diagnose, spread
from wgan.training.monitoring.finite import FiniteWatch, Look
from wgan.training.monitoring.history import History
from wgan.training.monitoring.holdout import HeldOut
from wgan.training.monitoring.measured import Clock, Measured
from wgan.training.monitoring.metrics import Metrics, append_line, append_metrics, rewind_metrics
from wgan.training.monitoring.previews import draw_preview, encode_preview
from wgan.training.monitoring.trackers import Tracker

logger = logging.getLogger(__name__)


class Monitor:
    """Keeps the files and trackers that say how a run goes."""

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        players: TrainState,
        sample: Pixels,
        held_out: HeldOut | None = None,
        trackers: Sequence[Tracker] = (),
        late: bool = False,
    ) -> None:
        """Write nothing yet.

        Args:
            run: where the files stand.
            config: the run's settings.
            players: what is trained.
            sample: some of the data's images, `[n, height, width, channels]`: previews are as
                diverse as they.
            held_out: scored at each logged step.
            trackers: told of all that is logged.
            late: write a step's figures when the next one is noted, so that nobody waits for them.
        """
        self._late = late
        self._pending: _Pending | None = None
        self._run, self._config, self._players = run, config, players
        self._held_out, self._trackers = held_out, trackers
        self._sample_spread = spread(sample)
        self._watch = FiniteWatch(players)
        self._history = History()
        self._clock = Clock(0)

    def open(self, step: int) -> None:
        """Begin after `step`, forgetting what was written of later ones. Raises OutputError."""
        self._history = History(rewind_metrics(self._run.metrics, step))
        for tracker in self._trackers:
            tracker.start(step, self._players.generator, self._players.critic)
        self._clock = Clock(step)

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
        """Take note of a step; returns the newest figures, where new ones were written.

        Args:
            step: it.
            log: write its figures.
            preview: draw a preview and the curves as well, and write the figures in any case.
            save: a checkpoint follows: look for NaN and Inf before.
            judge: gives further figures of the step; they are written in any case.

        Raises:
            TrainingDiverged: something is not finite at this step or at one since the last look.
            OutputError: something could not be written.
        """
        newest = self._finish()
        self._watch.remember(step)
        if not (log or preview or save or judge or self._watch.full):
            return newest
        measured = None
        if log or preview or judge:
            measured = Measured(step, self._players, self._clock, self._held_out)
        self._pending = _Pending(step.number, self._watch.look(), measured, preview, judge)
        if self._late and not (preview or save or judge):
            return newest
        return self._finish() or newest

    def check(self, step: int) -> None:
        """Write what is pending, and see that all since the last look is finite; as `note`."""
        self._finish()
        self._pending = _Pending(step, self._watch.look())
        self._finish()

    def _finish(self) -> Metrics | None:
        """Judge and write what is pending; returns its figures, if there are any."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        self._check(pending)
        if pending.measured is None:
            return None
        judge = pending.judge
        judged = self._clock.leave_out(lambda: judge(pending.step)) if judge else {}
        diversity = self._save_preview(pending.step) if pending.preview else None
        metrics = pending.measured.metrics(self._config, diversity)
        metrics = dataclasses.replace(metrics, fid=judged.get("fid"), kid=judged.get("kid"))
        self._history.add(metrics)
        metrics = dataclasses.replace(metrics, diagnosis=self._diagnose(metrics.step))
        append_metrics(self._run.metrics, metrics)
        for tracker in self._trackers:
            tracker.log(metrics)
        if pending.preview or judge:
            write_whole(self._run.curves, draw_curves(self._history, title=self._run.path.name))
        return metrics

    def _check(self, pending: "_Pending") -> None:
        """Raise TrainingDiverged, and note it, when something that was seen is not finite."""
        try:
            pending.look.check()
        except TrainingDiverged as exc:
            line = {"step": pending.step, "diagnosis": {"not-finite": str(exc)}}
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


@dataclasses.dataclass(frozen=True)
class _Pending:
    """What was asked of the device at a step, and has not been looked at."""

    step: int
    look: Look
    measured: Measured | None = None  # None where nothing is logged
    preview: bool = False
    judge: Callable[[int], Mapping[str, float]] | None = None
