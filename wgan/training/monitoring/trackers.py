"""Experiment trackers, which receive the metrics besides `metrics.jsonl`: TensorBoard, W&B."""

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from torch import nn

from wgan.errors import RunError, UsageError, needs_extra
from wgan.files import write_whole
from wgan.images import Pixels, to_pil
from wgan.runs import Run
from wgan.text import first_line, printable
from wgan.training.config import TrainConfig
from wgan.training.monitoring.history import StepMetrics, numeric_metrics

WANDB_PROJECT = "wgan"
"""Project of the runs, unless the variable WANDB_PROJECT names another."""

WATCH_EVERY = 100
"""Backward passes between two gradient histograms; each one is a device sync."""


class Tracker(Protocol):
    """Receives what a run logs. It opens nothing before `start`."""

    watches_gradients: bool
    """Whether it hooks into the backward pass."""

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Start after `step`, which supersedes later steps of an earlier session."""

    def log(self, metrics: StepMetrics) -> None:
        """Log a step."""

    def show(self, step: int, preview: Pixels) -> None:
        """Log a preview, `[height, width, channels]`; called before the step's `log`."""

    def close(self, failed: bool = False) -> None:
        """Write what is pending; not called if the process is killed.

        `failed` is whether an error ended the run, such as a divergence.
        """


class TensorBoardTracker:
    """`--tracker tensorboard` writes `<run>/tensorboard`, shown by  tensorboard --logdir runs."""

    watches_gradients = False

    def __init__(self, run: Run, config: TrainConfig) -> None:
        """Import TensorBoard. Raises ModuleNotFoundError."""
        from torch.utils.tensorboard import SummaryWriter

        self._open = SummaryWriter
        self._folder = run.path / "tensorboard"
        self._writer: SummaryWriter | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Open an event file that purges later steps of older files."""
        purge_step = step + 1 if self._folder.exists() else None
        try:
            self._writer = self._open(str(self._folder), purge_step=purge_step)
        except (OSError, ValueError) as exc:  # ValueError: a name that is not UTF-8
            raise UsageError(
                f"--tracker tensorboard cannot write {printable(self._folder)}: {first_line(exc)}"
            ) from exc

    def log(self, metrics: StepMetrics) -> None:
        """Add each metric as a scalar and each diagnosis as text."""
        assert self._writer is not None, "call start first"
        for name, value in numeric_metrics(metrics).items():
            self._writer.add_scalar(name, value, metrics.step)
        for name, message in metrics.diagnosis.items():
            self._writer.add_text(f"diagnosis/{name}", message, metrics.step)

    def show(self, step: int, preview: Pixels) -> None:
        """Add the preview as an image."""
        assert self._writer is not None, "call start first"
        self._writer.add_image("preview", preview, step, dataformats="HWC")

    def close(self, failed: bool = False) -> None:
        """Close the event file, which cannot record whether the run failed."""
        if self._writer is not None:
            self._writer.close()


class WandbTracker:
    """`--tracker wandb` logs to Weights & Biases and watches the gradients of both networks.

    With WANDB_MODE=offline it only writes to the run's folder. The file `<run>/wandb-id` holds the
    run's id there, so that a resumed run continues it.
    """

    watches_gradients = True

    def __init__(self, run: Run, config: TrainConfig) -> None:
        """Import wandb. Raises ModuleNotFoundError."""
        import wandb

        self._wandb, self._run, self._config = wandb, run, config
        self._session: wandb.Run | None = None
        self._preview: wandb.Image | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Start a W&B run, or resume the one with the stored id."""
        # The step is logged as a metric of its own, so that a resumed run may repeat steps.
        try:
            self._session = self._wandb.init(
                project=None if self._wandb.setup().settings.project else WANDB_PROJECT,
                dir=str(self._run.path),
                id=self._id(),
                name=self._run.path.name,
                resume="allow",
                config=dataclasses.asdict(self._config),
            )
        except self._wandb.errors.Error as exc:
            raise UsageError(
                f"--tracker wandb cannot start: {exc} Run  wandb login  first, or set"
                " WANDB_MODE=offline"
            ) from exc
        self._session.define_metric("*", step_metric="step")
        self._session.watch((generator, critic), log="gradients", log_freq=WATCH_EVERY)

    def log(self, metrics: StepMetrics) -> None:
        """Log each metric by its name; a diagnosis becomes an alert."""
        assert self._session is not None, "call start first"
        values: dict[str, object] = {"step": metrics.step, **numeric_metrics(metrics)}
        if self._preview is not None:
            values["preview"], self._preview = self._preview, None
        self._session.log(values)
        for name, message in metrics.diagnosis.items():
            self._session.alert(title=name, text=message)

    def show(self, step: int, preview: Pixels) -> None:
        """Keep the preview for the step's `log`."""
        self._preview = self._wandb.Image(to_pil(preview))

    def close(self, failed: bool = False) -> None:
        """Finish the W&B run, as failed if so; waits until everything is written or sent."""
        if self._session is not None:
            self._session.finish(exit_code=1 if failed else 0)

    def _id(self) -> str:
        path = self._run.path / "wandb-id"
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            new = uuid.uuid4().hex
            write_whole(path, f"{new}\n".encode())
            return new
        except (OSError, UnicodeDecodeError) as exc:
            raise RunError(f"cannot read {path}: {exc}") from exc


TRACKERS: dict[str, Callable[[Run, TrainConfig], Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
}


def make_trackers(names: Sequence[str], run: Run, config: TrainConfig) -> list[Tracker]:
    """Return one tracker for each name; "none" gives an empty list.

    Raises:
        UsageError: a name is unknown, or "none" is combined with others.
        MissingExtra: a tracker's package is not installed.
    """
    for name in names:
        if name not in (*TRACKERS, "none"):
            raise UsageError(f"--tracker {name} is not one of {', '.join(TRACKERS)}, none")
    if "none" in names and set(names) != {"none"}:
        raise UsageError("--tracker none cannot be combined with others: remove it, or the others")
    trackers: list[Tracker] = []
    for name in dict.fromkeys(name for name in names if name != "none"):
        with needs_extra(name, purpose=f"--tracker {name}"):
            trackers.append(TRACKERS[name](run, config))
    return trackers
