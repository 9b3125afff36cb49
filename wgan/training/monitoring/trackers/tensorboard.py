"""`--tracker tensorboard`: event files in the run's folder."""

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from wgan.images import Pixels
from wgan.runs import Run
from wgan.training.monitoring.metrics import Metrics, figures


class TensorBoardTracker:
    """Writes `<run>/tensorboard`; look at it with  tensorboard --logdir runs."""

    watches_gradients = False

    def __init__(self, run: Run) -> None:
        self._folder = run.path / "tensorboard"
        self._writer: SummaryWriter | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Begin a file that hides what older ones hold of later steps."""
        del generator, critic
        purge_step = step + 1 if self._folder.exists() else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge_step)

    def log(self, metrics: Metrics) -> None:
        """Add each figure as a scalar of its name, and a diagnosis as text."""
        assert self._writer is not None, "start comes first"
        for name, value in figures(metrics).items():
            self._writer.add_scalar(name, value, metrics.step)
        for name, words in metrics.diagnosis.items():
            self._writer.add_text(f"diagnosis/{name}", words, metrics.step)

    def show(self, step: int, preview: Pixels) -> None:
        """Add the preview's grid as an image."""
        assert self._writer is not None, "start comes first"
        self._writer.add_image("preview", preview, step, dataformats="HWC")

    def close(self, failed: bool = False) -> None:
        """Write what is pending; an event file has no place for how a run ended."""
        del failed
        if self._writer is not None:
            self._writer.close()
