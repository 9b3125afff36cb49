"""Where a run's figures go beside `metrics.jsonl`: TensorBoard, Weights & Biases.

`tracker.py` says what a tracker does; each other file is one.
"""

from collections.abc import Sequence

from wgan.errors import UsageError
from wgan.extras import needs_extra
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.trackers.tracker import Tracker

__all__ = ["NAMES", "Tracker", "make_trackers"]

NAMES = ("tensorboard", "wandb", "none")


def make_trackers(names: Sequence[str], run: Run, config: TrainConfig) -> list[Tracker]:
    """The trackers of these names, each once; "none" is none.

    Raises:
        UsageError: one is not known, or "none" stands beside others.
        MissingExtra: one's package is not installed.
    """
    for name in names:
        if name not in NAMES:
            raise UsageError(f"--tracker {name} is not one of {', '.join(NAMES)}")
    if "none" in names and set(names) != {"none"}:
        raise UsageError("--tracker none stands alone: leave it out, or the others")
    return [_make(name, run, config) for name in dict.fromkeys(names) if name != "none"]


def _make(name: str, run: Run, config: TrainConfig) -> Tracker:
    with needs_extra(name, purpose=f"--tracker {name}"):
        if name == "tensorboard":
            from wgan.training.monitoring.trackers.tensorboard import TensorBoardTracker

            return TensorBoardTracker(run)
        from wgan.training.monitoring.trackers.wandb import WandbTracker

        return WandbTracker(run, config)
