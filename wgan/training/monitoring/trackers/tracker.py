"""What every tracker does."""

from typing import Protocol

from torch import nn

from wgan.images import Pixels
from wgan.training.monitoring.metrics import Metrics


class Tracker(Protocol):
    """Receives what a run logs. Nothing is opened before `start`."""

    watches_gradients: bool
    """It looks at gradients in the midst of a backward pass."""

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Begin after `step`; what an earlier session logged of later steps counts no more."""

    def log(self, metrics: Metrics) -> None:
        """Take a logged step."""

    def show(self, step: int, preview: Pixels) -> None:
        """Take a preview's grid, `[height, width, channels]`; comes before the step's `log`."""

    def close(self, failed: bool = False) -> None:
        """Write what is pending; not called when the process is killed.

        `failed` is whether an error ended the run: one that diverged is no success.
        """
