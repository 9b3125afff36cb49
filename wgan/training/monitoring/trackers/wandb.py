"""`--tracker wandb`: Weights & Biases, which also watches the gradients of both networks."""

import dataclasses
import uuid

import wandb
from torch import nn

from wgan.errors import RunError, UsageError
from wgan.files import write_whole
from wgan.images import Pixels, to_pil
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.history import StepMetrics, numeric_metrics

PROJECT = "wgan"
"""Project of the runs, unless the variable WANDB_PROJECT names another."""

WATCH_EVERY = 100
"""Backward passes between two gradient histograms; each one is a device sync."""


class WandbTracker:
    """Logs to Weights & Biases, or only to the run's folder with WANDB_MODE=offline.

    The file `<run>/wandb-id` holds the run's id there, so that a resumed run continues it.
    """

    watches_gradients = True

    def __init__(self, run: Run, config: TrainConfig) -> None:
        self._run, self._config = run, config
        self._session: wandb.Run | None = None
        self._preview: wandb.Image | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Start a W&B run, or resume the one with the stored id."""
        del step  # logged as a metric of its own, so that a resumed run may repeat steps
        try:
            self._session = wandb.init(
                project=None if wandb.setup().settings.project else PROJECT,
                dir=str(self._run.path),
                id=self._id(),
                name=self._run.path.name,
                resume="allow",
                config=dataclasses.asdict(self._config),
            )
        except wandb.errors.Error as exc:
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
        del step
        self._preview = wandb.Image(to_pil(preview))

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
