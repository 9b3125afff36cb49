"""`--tracker wandb`: Weights & Biases, as in the seed article; it watches both networks."""

import dataclasses
import uuid

import wandb
from torch import nn

from wgan.errors import RunError, UsageError
from wgan.files import write_whole
from wgan.images import Pixels, to_image
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.metrics import Metrics, figures

PROJECT = "wgan"
"""The project where runs appear, unless the variable WANDB_PROJECT names another."""

WATCH_EVERY = 100
"""Backward passes between two histograms of gradients: each makes the host wait for the device."""


class WandbTracker:
    """Logs to Weights & Biases; WANDB_MODE=offline writes to the run's folder alone.

    The run keeps its id in `<run>/wandb-id`, so a resumed run goes on as the same one there.
    """

    watches_gradients = True

    def __init__(self, run: Run, config: TrainConfig) -> None:
        self._run, self._config = run, config
        self._session: wandb.Run | None = None
        self._preview: wandb.Image | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Begin, or go on with the id that the run began with."""
        del step  # it is logged as a figure of its own, so that a resumed run may step back
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
                f"--tracker wandb cannot begin: {exc} Run  wandb login  first, or set"
                " WANDB_MODE=offline"
            ) from exc
        self._session.define_metric("*", step_metric="step")
        self._session.watch((generator, critic), log="gradients", log_freq=WATCH_EVERY)

    def log(self, metrics: Metrics) -> None:
        """Log each figure by its name; a diagnosis becomes an alert."""
        assert self._session is not None, "start comes first"
        values: dict[str, object] = {"step": metrics.step, **figures(metrics)}
        if self._preview is not None:
            values["preview"], self._preview = self._preview, None
        self._session.log(values)
        for name, words in metrics.diagnosis.items():
            self._session.alert(title=name, text=words)

    def show(self, step: int, preview: Pixels) -> None:
        """Keep the preview's grid for the step's `log`."""
        del step
        self._preview = wandb.Image(to_image(preview))

    def close(self, failed: bool = False) -> None:
        """Finish the session there, or mark it failed; waits until it is written or sent."""
        if self._session is not None:
            self._session.finish(exit_code=1 if failed else 0)

    def _id(self) -> str:
        place = self._run.path / "wandb-id"
        try:
            return place.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            new = uuid.uuid4().hex
            write_whole(place, f"{new}\n".encode())
            return new
        except (OSError, UnicodeDecodeError) as exc:
            raise RunError(f"cannot read {place}: {exc}") from exc
