"""Experiment trackers, which receive the metrics besides `metrics.jsonl`: TensorBoard, W&B."""

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from wgan.errors import UsageError, needs_extra
from wgan.images import Pixels
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.history import StepMetrics

NAMES = ("tensorboard", "wandb", "none")


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


def make_trackers(names: Sequence[str], run: Run, config: TrainConfig) -> list[Tracker]:
    """Return one tracker for each name; "none" gives an empty list.

    Raises:
        UsageError: a name is unknown, or "none" is combined with others.
        MissingExtra: a tracker's package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(f"--tracker {name} is not one of {', '.join(NAMES)}")
    if "none" in names and set(names) != {"none"}:
        raise UsageError("--tracker none cannot be combined with others: remove it, or the others")
    trackers: list[Tracker] = []
    for name in dict.fromkeys(names):
        with needs_extra(name, purpose=f"--tracker {name}"):
            if name == "tensorboard":
                from wgan.training.monitoring.trackers.tensorboard import TensorBoardTracker

                trackers.append(TensorBoardTracker(run))
            elif name == "wandb":
                from wgan.training.monitoring.trackers.wandb import WandbTracker

                trackers.append(WandbTracker(run, config))
    return trackers
