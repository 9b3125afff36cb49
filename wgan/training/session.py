"""A run from its beginning, or from where it stopped, to its last step, kept on disk as it goes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import torch

from wgan.errors import RunError, SettingChanged
from wgan.files import discard_leftovers, write_whole
from wgan.runs import RUNS, Run, remember_run
from wgan.training.checkpoint import Checkpoint, newest_good_checkpoint, prune
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import CapturedStep, CUDARecorder
from wgan.training.data import ImageSource, InMemoryDataset, Shards, StreamingDataset, open_data
from wgan.training.device import captures_steps
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from wgan.training.monitoring.best import Best, BestTracker, Evaluator
from wgan.training.monitoring.holdout import MAX_SCORED, HoldoutImages
from wgan.training.monitoring.metrics import Metrics
from wgan.training.monitoring.monitor import Monitor
from wgan.training.monitoring.previews import generate_fn
from wgan.training.monitoring.trackers import Tracker
from wgan.training.networks import Architecture
from wgan.training.precision import tf32_mode
from wgan.training.trainee import Trainee

JUDGED_BATCH = 64
"""Images that are drawn at a time for a judge, as many as for a preview."""


@dataclass(frozen=True)
class Plan:
    """What a run would do, settled and checked before any work."""

    run: Run
    config: TrainConfig
    source: ImageSource | Shards
    resumes: bool  # the run folder is there already


def plan(given: Mapping[str, Any], run: Path | None = None, download: bool = False) -> Plan:
    """Settle a run's folder, settings and data.

    Args:
        given: the settings that the user gave, by the names of `TrainConfig`. In a folder that
            holds a run, the rest is as that run began; elsewhere it comes from the recipe.
        run: the run's folder; None names one after the data, size and recipe.
        download: fetch a data set by name when it is not there.

    Raises:
        UsageError: a setting is not allowed.
        SettingChanged: the run in this folder began with another.
        DataError: the data is not there.
        RunError: the folder holds something else.
    """
    stored = _stored_config(Run(run)) if run else None
    begun = {"data": stored.data} if stored else {}
    source = open_data({"data": TrainConfig.data, **begun, **given}["data"], download=download)
    fresh = TrainConfig.resolve({"channels": source.channels, **given})
    folder = Run(run or RUNS / f"{source.name}-{fresh.size}-{fresh.recipe}")
    stored = _stored_config(folder)
    config = stored.resume(given) if stored else fresh
    return Plan(folder, config, source, resumes=stored is not None)


def _stored_config(run: Run) -> TrainConfig | None:
    try:
        text = run.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except NotADirectoryError as exc:
        raise RunError(f"{run.path} is no folder: --run names the folder of a run") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise RunError(f"cannot read {run.config}: {exc}") from exc
    return TrainConfig.from_json(text, str(run.config))


class Session(AbstractContextManager["Session"]):
    """A run that is being trained. Use it in a `with` block: its folder is locked meanwhile."""

    def __init__(
        self,
        plan: Plan,
        data: InMemoryDataset | StreamingDataset,
        device: torch.device,
        architecture: Architecture | None = None,
        trackers: Sequence[Tracker] = (),
        judge: Evaluator | None = None,
        data_on_device: str = "auto",
        capture: str = "auto",
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Build the networks; nothing is written yet.

        Args:
            plan: what `plan` settled.
            data: what `load_data` gave for `plan.config`.
            device: where to train.
            architecture: as for `wgan.training.networks.build`.
            trackers: told of all that is logged.
            judge: asked every `config.eval_every` steps; the checkpoint that it likes best stays.
            data_on_device: as for `wgan.training.device.keeps_data`.
            capture: as for `wgan.training.device.captures_steps`.
            group: the processes that share the work; this one leads, the others `train_along`.

        Raises:
            DataError: there are fewer images than a batch.
            UsageError: the networks are not built in and `architecture` is missing.
            DeviceError: the device cannot do what is asked of it.
        """
        self.run, self.config, self.group = plan.run, plan.config, group
        self.data, self.device = data, device
        self._trainee = Trainee(self.config, data, device, architecture, data_on_device, group)
        self.players = self._trainee.players
        captured = captures_steps(capture, device, self.config, trackers, group.size)
        self._captured = CapturedStep(CUDARecorder(self.players)) if captured else None
        learned, held_out = data.train_and_holdout_samples(
            self.config.holdout, self.config.seed, MAX_SCORED
        )
        self.monitor = Monitor(
            self.run,
            self.config,
            self.players,
            sample=learned,
            holdout=HoldoutImages.of(learned, held_out, device),
            trackers=trackers,
            deferred=device.type == "cuda",
        )
        self._follower = self._follow(judge) if judge and self.config.eval_every else None
        self._lock = filelock.FileLock(self.run.path / ".lock", timeout=0)
        self._settings = ExitStack()  # PyTorch's, that hold for the whole process

    def __enter__(self) -> Self:
        """Lock the run's folder, then begin or resume.

        Raises:
            RunError: another process trains this run.
            CheckpointError: there are checkpoints, but none is good.
            SettingChanged: the data is not what the run began with.
            UsageError: the checkpoint's weights do not fit the networks.
            DeviceError: the run began on another kind of device.
            OutputError: the folder cannot be written.
        """
        self.run.make()
        try:
            self._lock.acquire()
        except filelock.Timeout as exc:
            raise RunError(f"another process is training {self.run.path}: wait for it") from exc
        try:
            self._resume()
            write_whole(self.run.config, self.config.to_json().encode())
            remember_run(self.run)
            if self.group.size > 1:  # all begin with the same weights, those of the last checkpoint
                self.group.broadcast_bytes(self._trainee.checkpoint().to_bytes())
        except BaseException:
            self.monitor.close(failed=True)
            self._lock.release()
            raise
        self._settings.enter_context(tf32_mode(self.config.precision))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the monitor and let the folder go."""
        self._settings.close()
        self.monitor.close(failed=error is not None)
        self._lock.release()

    def train(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[Metrics | None]:
        """Train up to `config.steps`, or until `should_stop()`; saves at the end either way.

        Yields after each step the metrics that were written meanwhile, else None: on a CPU a logged
        step's own, on a GPU those of the step before.

        Raises:
            TrainingDiverged: a logged value is not finite; the last checkpoint is kept.
            OutputError: something could not be written; the last checkpoint is kept.
            OutOfMemory: a step does not fit; the message says which batch would.
            RankLost: another process of the training is gone; the last checkpoint is kept.
        """
        config = self.config
        saved = self.step
        for step in self._trainee.steps(should_stop, self._captured):
            save = self._is_due(config.checkpoint_every)
            follower = self._follower
            if follower and not self._is_due(config.eval_every):
                follower = None
            metrics = self.monitor.log_step(
                step,
                log=self._is_due(config.log_every),
                preview=self._is_due(config.preview_every),
                save=save,
                evaluate=follower.measure if follower else None,
            )
            if follower and follower.improved:
                self._trainee.checkpoint().save(self.run.best)
                follower.save_record()
            if save:
                self.save()
                saved = self.step
            self.monitor.write_images()
            yield metrics
        if saved != self.step:
            self.monitor.flush(self.step)
            self.save()
        self.group.stop_watching()

    @property
    def step(self) -> int:
        """Steps done."""
        return self._trainee.step

    @property
    def best(self) -> Best | None:
        """What the judge liked best so far; None where there is no judge."""
        return self._follower.best if self._follower else None

    def save(self) -> None:
        """Write a checkpoint of this step, then remove those too many. Raises OutputError."""
        self._trainee.checkpoint().save(self.run.checkpoint(self.step))
        prune(self.run, self.config)

    def _follow(self, judge: Evaluator) -> BestTracker:
        players = self.players
        generate = generate_fn(
            players.generator_ema, self.config.latent_dim, self.device, JUDGED_BATCH
        )
        return BestTracker(self.run, judge, generate)

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _resume(self) -> None:
        """Go back to the newest good checkpoint, if there is any, and clear what a kill left."""
        for place in (self.run.path / "checkpoints", self.run.path / "previews"):
            discard_leftovers(place)
        for path in (self.run.config, self.run.metrics, self.run.curves):
            discard_leftovers(path.parent, path.name)
        checkpoint = newest_good_checkpoint(self.run)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.monitor.open(self.step)
        if self._follower:
            self._follower.open()

    def _restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.data_sha256 != self.data.sha256:
            raise SettingChanged(
                f"data: the images of {self.config.data} are not those that {self.run.path}"
                " began with; restore them, or name another folder with --run"
            )
        self._trainee.restore(checkpoint)
