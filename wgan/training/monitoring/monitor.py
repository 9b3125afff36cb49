"""The monitor of a run: metrics, NaN check, diagnoses, previews, curves and trackers."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from wgan.errors import TrainingDiverged
from wgan.files import write_whole
from wgan.host import MIB, peak_memory
from wgan.images import Pixels, encode, evenly_spaced, grid, viewable
from wgan.latents import PREVIEW_SEEDS
from wgan.runs import Run
from wgan.text import first_line
from wgan.training.config import TrainConfig
from wgan.training.device import peak_device_memory
from wgan.training.loop import Step
from wgan.training.monitoring.curves import draw_curves
from wgan.training.monitoring.diagnosis import diagnose, novelty, spread, usual_distance
from wgan.training.monitoring.history import (
    History,
    StepMetrics,
    append_line,
    append_metrics,
    rewind_metrics,
)
from wgan.training.monitoring.previews import generate_pixels
from wgan.training.monitoring.step_stats import CopiedStats, HoldoutImages, StepStats
from wgan.training.monitoring.trackers import Tracker
from wgan.training.state import TrainState

logger = logging.getLogger(__name__)

SaveFn = Callable[[], object]
"""Writes the checkpoint of the current step."""

EvaluateFn = Callable[[int], Mapping[str, float]]
"""Step -> further metrics of the generator, by their names in `StepMetrics`."""


class Monitor:
    """Writes the metrics, previews, real images and curves of a run, and feeds its trackers.

    Images and curves are a convenience: one that cannot be drawn or written is a warning.
    """

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        state: TrainState,
        sample: Pixels,
        all_images: Pixels | None = None,
        holdout: HoldoutImages | None = None,
        trackers: Sequence[Tracker] = (),
        deferred: bool = False,
    ) -> None:
        """Write nothing yet.

        Args:
            run: the folder to write to.
            config: the run's settings.
            state: what is trained.
            sample: some images of the data, `[n, height, width, channels]`: the yardstick for
                the diversity of previews.
            all_images: all training images, if they are few: previews may be copies of them.
            holdout: scored at each logged step.
            trackers: receive everything that is logged.
            deferred: write a step's metrics at the next `log_step`, so that the host does not
                wait for the device.
        """
        self._run, self._config, self._state = run, config, state
        self._holdout, self._trackers, self._deferred = holdout, trackers, deferred
        self._sample_spread, self._all_images = spread(sample), all_images
        self._usual_distance: float | None = None  # of all_images, once a preview needs it
        count = min(len(sample), len(PREVIEW_SEEDS))
        self._reals = sample[evenly_spaced(len(sample), count)] if count else sample
        self._stats = StepStats(state)
        self.history = History()
        self._last_log = 0, time.perf_counter()  # step and time
        self._pending: _PendingStep | None = None

    def open(self, step: int) -> None:
        """Start after `step` and remove what was written of later steps. Raises OutputError."""
        self.history = History(rewind_metrics(self._run.metrics, step))
        if len(self._reals):
            with _only_a_warning(self._run.reals.name):
                write_whole(self._run.reals, encode(grid(viewable(self._reals))))
        for tracker in self._trackers:
            tracker.start(step, self._state.generator, self._state.critic)
        self._last_log = step, time.perf_counter()

    def close(self, failed: bool = False) -> None:
        """Close the trackers; `failed` is whether an error ended the run."""
        for tracker in self._trackers:
            tracker.close(failed)

    def log_step(
        self,
        step: Step,
        *,
        log: bool,
        preview: bool,
        save: SaveFn | None = None,
        evaluate: EvaluateFn | None = None,
    ) -> StepMetrics | None:
        """Record a step; return the newest metrics that were written meanwhile, if any.

        Args:
            step: its losses, on the device.
            log: write its metrics.
            preview: generate a preview; implies `log`.
            save: called once the step is known to be finite, and before anything is measured or
                drawn, so that what fails or takes long there loses no training.
            evaluate: measures further metrics of the step; implies `log`.

        Raises:
            TrainingDiverged: a number of this step, or of one since the last check, is not finite.
            OutputError: a file cannot be written.
        """
        newest = self._write_pending()
        self._stats.record(step)
        is_logged = log or preview or evaluate is not None
        if not (is_logged or save is not None or self._stats.is_full):
            return newest
        scores = None
        if is_logged and self._holdout is not None:
            scores = self._holdout.holdout_scores(self._state.critic)
        seconds = None
        if is_logged:
            (last, then), now = self._last_log, time.perf_counter()
            seconds = (now - then) / (step.number - last)
            self._last_log = step.number, now
        self._pending = _PendingStep(
            step.number, self._stats.copy(scores), seconds, preview, save, evaluate
        )
        if self._deferred and not preview and save is None and evaluate is None:
            return newest
        return self._write_pending() or newest

    def flush(self, step: int) -> None:
        """Write what is pending, then check everything up to `step`; raises as `log_step`."""
        self._write_pending()
        self._pending = _PendingStep(step, self._stats.copy())
        self._write_pending()

    def _write_pending(self) -> StepMetrics | None:
        """Check and write the pending step, if there is one; return its metrics, if it has any."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        try:
            pending.stats.check_finite()
        except TrainingDiverged as exc:
            kept = "the last checkpoint is kept" if self._run.checkpoints() else "nothing is saved"
            message = f"{exc}; {kept}. Lower --learning-rate, or check the data"
            line = {"step": pending.step, "diagnosis": {"not-finite": message}}
            append_line(self._run.metrics, line)
            raise TrainingDiverged(message) from exc
        metrics: StepMetrics | None = None
        begin: int | None = None
        if pending.seconds_per_step is not None:
            metrics = self._metrics(pending, pending.seconds_per_step)
        if pending.save is not None:
            if metrics is not None:  # a checkpoint finds its line there, whatever comes next
                begin = append_metrics(self._run.metrics, metrics)
            pending.save()
        if metrics is None:
            return None
        evaluated: Mapping[str, float] = {}
        if pending.evaluate is not None:
            started = time.perf_counter()
            evaluated = pending.evaluate(pending.step)
            # The steps that follow do not take the evaluation's time.
            last, then = self._last_log
            self._last_log = last, then + time.perf_counter() - started
        preview = self._draw_preview(pending.step) if pending.preview else {}
        metrics = dataclasses.replace(
            metrics,
            diversity=preview.get("diversity"),
            novelty=preview.get("novelty"),
            fid=evaluated.get("fid"),
            kid=evaluated.get("kid"),
        )
        self.history.add(metrics)
        metrics = dataclasses.replace(metrics, diagnosis=self._diagnose(metrics.step))
        append_metrics(self._run.metrics, metrics, begin)
        for tracker in self._trackers:
            tracker.log(metrics)
        if pending.preview or pending.evaluate is not None:
            with _only_a_warning(self._run.curves.name):
                png = draw_curves(self.history, title=self._run.path.name)
                write_whole(self._run.curves, png)
        return metrics

    def _metrics(self, pending: "_PendingStep", seconds_per_step: float) -> StepMetrics:
        """The metrics of a step but those of its generated images."""
        config, stats = self._config, pending.stats
        wasserstein, gradient_norm, penalty, critic_loss, generator_loss = stats.losses
        critic_gradient, generator_gradient = stats.gradient_norms
        train_score, held_out_score = stats.scores or (None, None)
        held_out_wasserstein = None
        if train_score is not None and held_out_score is not None:
            held_out_wasserstein = wasserstein - (train_score - held_out_score)
        memory, device_memory = peak_memory(), peak_device_memory(self._state.device)
        return StepMetrics(
            step=pending.step,
            seconds_per_step=seconds_per_step,
            images_per_second=config.batch_size * config.n_critic / seconds_per_step,
            wasserstein=wasserstein,
            train_score=train_score,
            held_out_score=held_out_score,
            held_out_wasserstein=held_out_wasserstein,
            gradient_penalty=penalty if config.has_penalty else None,
            critic_gradient_norm=gradient_norm if config.has_penalty else None,
            critic_loss=critic_loss,
            generator_loss=generator_loss,
            critic_weights_gradient=critic_gradient,
            generator_weights_gradient=generator_gradient,
            memory_mib=memory / MIB if memory else None,
            device_memory_mib=device_memory / MIB if device_memory else None,
        )

    def _draw_preview(self, step: int) -> dict[str, float]:
        """Write the images of seeds 0 to 63; return their diversity and novelty, if known."""
        found: dict[str, float] = {}
        path, state, config = self._run.preview(step), self._state, self._config
        with _only_a_warning(path.name):
            pixels = generate_pixels(
                state.generator_ema,
                config.latent_dim,
                state.device,
                PREVIEW_SEEDS,
                len(config.classes),
            )
            if self._sample_spread > 0:
                found["diversity"] = spread(pixels) / self._sample_spread
            if self._all_images is not None:
                if self._usual_distance is None:
                    self._usual_distance = usual_distance(self._all_images)
                found["novelty"] = novelty(pixels, self._all_images, self._usual_distance)
            sheet = grid(viewable(pixels))
            for tracker in self._trackers:
                tracker.show(step, sheet)
            write_whole(path, encode(sheet))
        return found

    def _diagnose(self, step: int) -> dict[str, str]:
        """Return and log the findings that are new, name -> message."""
        config = self._config
        findings = diagnose(
            self.history,
            self._state.critic,
            penalty=config.has_unit_slope,
            values=math.prod(config.image_shape),
        )
        new = {name: findings[name] for name in findings if name not in self.history.diagnosed}
        for name, message in new.items():
            logger.warning("step %d: %s", step, message)
            self.history.diagnosed[name] = step
        return new


@dataclasses.dataclass(frozen=True)
class _PendingStep:
    """A step whose numbers are on their way to the host."""

    step: int
    stats: CopiedStats
    seconds_per_step: float | None = None  # None for a step that is only checked
    preview: bool = False
    save: SaveFn | None = None
    evaluate: EvaluateFn | None = None


@contextmanager
def _only_a_warning(name: str) -> Iterator[None]:
    """Turn an error of the block, which draws the image file `name`, into a warning."""
    try:
        yield
    except Exception as exc:  # noqa: BLE001 - from matplotlib and its settings comes anything
        logger.warning("%s cannot be drawn, training continues: %s", name, first_line(exc))
