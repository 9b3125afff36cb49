"""The trainer of a run: from its start, or its last checkpoint, to its last step."""

import dataclasses
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

import torch

from wgan.errors import DataError, OutOfMemory, RunError, SettingChanged
from wgan.files import discard_leftovers, open_lock, write_whole
from wgan.host import keep_freed_memory
from wgan.images import Pixels
from wgan.runs import Run, remember_run
from wgan.training.augmentation import resolve_augment
from wgan.training.checkpoint import Checkpoint, newest_good_checkpoint, open_checkpoint, prune
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import WARM_UP_STEPS, CapturedStep, CUDARecorder
from wgan.training.data import Dataset
from wgan.training.data.classes import check_classes
from wgan.training.data.load import check_image_shape
from wgan.training.device import (
    check_precision,
    limit_threads,
    resolve_cuda_graph,
    resolve_data_on_device,
    resolve_precision,
    tf32_mode,
)
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from wgan.training.fine_tuning import initialise
from wgan.training.loop import Step, train_steps
from wgan.training.memory import check_networks_fit, explain_oom, is_oom
from wgan.training.monitoring.best import Best, BestTracker, Evaluator
from wgan.training.monitoring.diagnosis import MAX_COMPARED
from wgan.training.monitoring.history import StepMetrics
from wgan.training.monitoring.monitor import Monitor
from wgan.training.monitoring.previews import generate_fn
from wgan.training.monitoring.step_stats import MAX_SCORED, HoldoutImages
from wgan.training.monitoring.trackers import Tracker
from wgan.training.networks import Architecture, build
from wgan.training.state import TrainState
from wgan.training.time_budget import replan

EVALUATION_BATCH = 64
"""Images per batch of an evaluation, as many as in a preview."""

MEASURED_STEPS = 5
"""Steps that `Trainer.measure_step` times."""

SLOW_WARM_UP_S = 5.0
"""After a first step as slow as this, it times one step only."""


class Trainer:
    """Trains a run, resumes it and writes its folder. Every rank has one; rank 0 writes.

        with Trainer(run, config, data, device) as trainer:
            for metrics in trainer.train():
                ...

    The block locks the run folder. Leaving it before the last step, by Ctrl-C too, saves a
    checkpoint. `train` without a block opens and closes the trainer itself.

    Attributes:
        state: the networks, their optimisers and random state.
        step: number of steps done.
    """

    def __init__(
        self,
        run: Run,
        config: TrainConfig,
        data: Dataset,
        device: torch.device,
        architecture: Architecture | None = None,
        trackers: Sequence[Tracker] = (),
        evaluator: Evaluator | None = None,
        data_on_device: str = "auto",
        cuda_graph: str = "auto",
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Build the networks; writes nothing yet.

        Args:
            run: the folder, which may hold the run already.
            config: its settings.
            data: the output of `load_data` for `config`.
            device: where to train.
            architecture: as for `wgan.training.networks.build`.
            trackers: receive everything that is logged.
            evaluator: measured every `config.eval_every` steps; the best checkpoint is kept.
            data_on_device: as for `wgan.training.device.resolve_data_on_device`.
            cuda_graph: as for `wgan.training.device.resolve_cuda_graph`.
            group: the processes of the run.

        Raises:
            DataError: there are fewer images than a batch, or they have another size.
            UsageError: the networks are not built in and `architecture` is missing.
            DeviceError: the device does not support an option.
            OutOfMemory: the networks do not fit.
        """
        limit_threads()
        config = dataclasses.replace(  # the run keeps what "auto" was
            config,
            precision=resolve_precision(config.precision, device),
            augment=resolve_augment(config.augment, data.count),
        )
        self.run, self.config, self.data = run, config, data
        self.device, self.group = device, group
        self.step = 0
        check_precision(config.precision, device)
        check_image_shape(data, config.image_shape)
        check_classes(data, config)
        check_networks_fit(config, device)
        try:
            self.state = TrainState(*build(config, architecture), config, device, group)
        except (MemoryError, RuntimeError) as exc:
            if not is_oom(exc):
                raise
            raise OutOfMemory(
                f"out of memory on {device}: the networks do not fit; lower --width in a new --run"
            ) from exc
        self._data_on_device = resolve_data_on_device(data_on_device, device, data.nbytes)
        self._batches = data.batches(
            config.batch_size,
            config.seed,
            device,
            flip=config.flip,
            holdout=config.holdout,
            on_device=self._data_on_device,
            group=group,
        )
        # Labels count in a conditional run only.
        self._data_sha256 = data.labelled_sha256 if config.conditional else data.sha256
        watched = any(tracker.watches_gradients for tracker in trackers)
        use_graph = resolve_cuda_graph(cuda_graph, device, config, watched, group.size)
        self._step_fn = CapturedStep(CUDARecorder(self.state)) if use_graph else None
        self._monitor = self._make_monitor(trackers) if group.is_main else None
        self._best_tracker: BestTracker | None = None
        if evaluator is not None and config.eval_every and group.is_main:
            ema = self.state.generator_ema
            classes = len(config.classes)
            generate = generate_fn(ema, config.latent_dim, device, EVALUATION_BATCH, classes)
            self._best_tracker = BestTracker(self.run, evaluator, generate)
        self._is_open = False
        self._unsaved = False  # the state is that after a whole step, and no checkpoint has it
        self._resources = ExitStack()

    def _make_monitor(self, trackers: Sequence[Tracker]) -> Monitor:
        config = self.config
        train, holdout = self.data.train_and_holdout(
            config.holdout,
            config.seed,
            MAX_SCORED,
            labelled=config.conditional and config.holdout > 0,
        )
        return Monitor(
            self.run,
            config,
            self.state,
            sample=train.pixels,
            all_images=self._few_images(),
            holdout=HoldoutImages.of(train, holdout, self.device),
            trackers=trackers,
            deferred=self.device.type == "cuda",
        )

    def _few_images(self) -> Pixels | None:
        """All training images if they are so few that the generator may memorise them."""
        if self.data.count is None or not 1 < self.data.count <= MAX_COMPARED:
            return None
        train, _ = self.data.train_and_holdout(self.config.holdout, self.config.seed, MAX_COMPARED)
        return train.pixels if len(train.pixels) > 1 else None

    def __enter__(self) -> Self:
        """Lock the run folder and load the newest checkpoint, if there is one.

        Raises:
            RunError: another process trains this run.
            CheckpointError: there are checkpoints, and none can be read.
            SettingChanged: the run was started with other data.
            DataError: another rank has other data.
            UsageError: the checkpoint's weights do not fit the networks.
            DeviceError: the run was trained on another type of device.
            OutputError: the folder cannot be written.
        """
        try:
            if self._monitor is not None:
                self._open_folder(self._monitor)
            if self.group.size > 1:
                self._broadcast_checkpoint()
        except BaseException:
            self._close(failed=True)
            raise
        self._resources.enter_context(tf32_mode(self.config.precision))
        self._is_open = True
        return self

    def _open_folder(self, monitor: Monitor) -> None:
        self.run.make()
        lock = open_lock(self.run.path / ".lock")
        if lock is None:
            raise RunError(f"another process is training {self.run.path}: wait for it")
        self._resources.enter_context(lock)
        # With the lock held, half-written files are those of a process that was killed.
        for folder in (self.run.path / "checkpoints", self.run.path / "previews"):
            discard_leftovers(folder)
        for path in (self.run.config, self.run.metrics, self.run.curves, self.run.reals):
            discard_leftovers(path.parent, path.name)
        checkpoint = newest_good_checkpoint(self.run)
        if checkpoint is not None:
            if checkpoint.data_sha256 != self._data_sha256:
                images = "images or classes" if self.config.conditional else "images"
                raise SettingChanged(
                    f"data: the {images} of {self.config.data} are not those that {self.run.path}"
                    " was started with; restore them, or name another folder with --run"
                )
            self._restore(checkpoint)
        elif self.config.start_from is not None:
            initialise(self.state, open_checkpoint(Path(self.config.start_from)))
        monitor.open(self.step)
        if self._best_tracker:
            self._best_tracker.open()
        write_whole(self.run.config, self.config.to_json().encode())
        self._keep_to_time()
        remember_run(self.run)

    def _broadcast_checkpoint(self) -> None:
        """Give all ranks the weights and the position in the data of rank 0."""
        own = self._checkpoint().to_bytes() if self.group.is_main else None
        content = self.group.broadcast_bytes(own)
        if self.group.is_main:
            return
        checkpoint = Checkpoint.from_bytes(content, "the checkpoint from rank 0")
        if checkpoint.data_sha256 != self._data_sha256:
            raise DataError(
                f"the images of {self.config.data} on this machine differ from those of rank 0:"
                " copy them from there"
            )
        self._restore(checkpoint)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint.of(
            self.state, self.config, self.step, self._batches.drawn, self._data_sha256
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        checkpoint.restore(self.state)
        self._batches.drawn = checkpoint.batches_drawn
        self.step = checkpoint.step

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Save the last step, unless it is saved, and unlock the folder."""
        try:
            if self._unsaved:
                self.save()
        except BaseException:
            self._close(failed=True)
            raise
        # Ctrl-C is not a failure.
        self._close(failed=kind is not None and issubclass(kind, Exception))

    def _close(self, failed: bool) -> None:
        self._is_open = False
        if self._monitor is not None:
            self._monitor.close(failed)
        self._resources.close()

    def train(
        self, should_stop: Callable[[], bool] = lambda: False
    ) -> Iterator[StepMetrics | None]:
        """Train up to `config.steps`, or until `should_stop()` on any rank; saves at the end.

        Yields after each step: the metrics that were written during it, or None. On a GPU they
        are those of the step before, so that the host never waits.

        Ctrl-C takes effect after the step, like any other way of leaving the loop early: the
        networks are never left half updated.

        Raises:
            TrainingDiverged: a logged value is not finite; the last checkpoint is kept.
            OutputError: a file cannot be written; the last checkpoint is kept.
            OutOfMemory: a step does not fit into memory; the message says what to change.
            RankLost: another process is gone; the last checkpoint is kept.
        """
        if not self._is_open:
            with self:
                yield from self.train(should_stop)
            return
        if self.device.type == "cpu":
            keep_freed_memory()
        steps = self._steps(self.step)
        while self.step < self.config.steps and not self.group.any(should_stop()):
            with _interrupt_after():
                self._unsaved = False  # half a step must not be saved
                with self._explain_oom():
                    step = next(steps)
                    self.step = step.number
                    metrics = self._log_and_save(step, self._monitor) if self._monitor else None
                if metrics is not None and self._keep_to_time():
                    steps = self._steps(self.step)
            yield metrics
        if self._unsaved:
            self.save()

    def _steps(self, start: int) -> Iterator[Step]:
        batches = self._batches
        next_batch = batches.next_labelled if self.config.conditional else batches.next
        return train_steps(self.state, next_batch, self.config, start, self._step_fn)

    def _keep_to_time(self) -> bool:
        """With `minutes`, set the number of steps to what fits; return whether it changed."""
        if not self.config.minutes or self._monitor is None:
            return False
        history = self._monitor.history
        if not history.seconds:
            return False
        config = replan(self.config, self.step, history.seconds, history.seconds_per_step)
        if config == self.config:
            return False
        self.config = config
        write_whole(self.run.config, config.to_json().encode())
        return True

    def measure_step(self) -> float:
        """Return the seconds that a step takes, by training a few: for a dry run.

        The networks are trained and nothing is saved. Every rank calls it.

        Raises:
            OutOfMemory: a step does not fit into memory; the message says what to change.
        """
        steps = self._steps(0)

        def take(count: int) -> float:
            begin = time.perf_counter()
            for step in itertools.islice(steps, count):
                float(step.generator_loss)  # waits for the device
            return time.perf_counter() - begin

        with tf32_mode(self.config.precision), self._explain_oom():
            # The first steps allocate memory, choose algorithms and record the CUDA graph.
            first = take(WARM_UP_STEPS + 1 if self.device.type == "cuda" else 1)
            is_slow = self.group.any(first > SLOW_WARM_UP_S)
            count = 1 if is_slow else MEASURED_STEPS
            return take(count) / count

    def _explain_oom(self) -> AbstractContextManager[None]:
        return explain_oom(self.config, self.device, self.group.size, self._data_on_device)

    def _log_and_save(self, step: Step, monitor: Monitor) -> StepMetrics | None:
        """Write everything that is due after a step, its checkpoint first."""
        config = self.config
        save = self._is_due(config.checkpoint_every)
        evaluate = self._best_tracker is not None and self._is_due(config.eval_every)
        metrics = monitor.log_step(
            step,
            log=self._is_due(config.log_every),
            preview=self._is_due(config.preview_every),
            save=self._write_checkpoint if save else None,
            evaluate=self._evaluate if evaluate else None,
        )
        self._unsaved = not save
        return metrics

    def _evaluate(self, step: int) -> Mapping[str, float]:
        """Measure the generator after a step that is finite; keep the checkpoint if it is best."""
        assert self._best_tracker is not None
        # If the measurement fails, leaving the trainer saves the step.
        self._unsaved = not self._is_due(self.config.checkpoint_every)
        measured = self._best_tracker.measure(step)
        if self._best_tracker.improved:
            self._checkpoint().save(self.run.best)
            self._best_tracker.save_record()
        return measured

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def save(self) -> None:
        """Write a checkpoint of this step, then remove expired ones.

        Raises:
            TrainingDiverged: a value is not finite; nothing is written.
            OutputError: a file cannot be written.
        """
        self._unsaved = False
        if self._monitor is not None:
            self._monitor.flush(self.step)
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        self._checkpoint().save(self.run.checkpoint(self.step))
        prune(self.run, self.config)

    @property
    def best(self) -> Best | None:
        """The best evaluation so far; None without an evaluator."""
        return self._best_tracker.best if self._best_tracker else None


@contextmanager
def _interrupt_after() -> Iterator[None]:
    """Hold a Ctrl-C back until the end of the block; a second one interrupts at once.

    Only Python's own handler is replaced, in the main thread: a program that handles SIGINT itself,
    as the command line does, is not affected.
    """
    own = signal.default_int_handler
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGINT) is not own:
        yield
        return
    interrupted = False

    def remember(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.signal(signal.SIGINT, own)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)
    if interrupted:
        raise KeyboardInterrupt
