"""`--tracker tensorboard`: event files in the run's folder."""

from torch import nn
from torch.utils.tensorboard import SummaryWriter

from wgan.images import Pixels
from wgan.runs import Run
from wgan.training.monitoring.history import StepMetrics, numeric_metrics


class TensorBoardTracker:
    """Writes `<run>/tensorboard`, shown by  tensorboard --logdir runs."""

    watches_gradients = False

    def __init__(self, run: Run) -> None:
        self._folder = run.path / "tensorboard"
        self._writer: SummaryWriter | None = None

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None:
        """Open an event file that purges later steps of older files."""
        del generator, critic
        purge_step = step + 1 if self._folder.exists() else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge_step)

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
        del failed
        if self._writer is not None:
            self._writer.close()
