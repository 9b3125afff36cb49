"""Options of an evaluation, and the metrics to choose from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wgan.errors import UsageError
from wgan.files import check_output
from wgan.model_file.foreign import ForeignOptions
from wgan.options import advanced, option, parse_value_range
from wgan.training.execution import CacheConfig, CheckpointConfig

MIN_IMAGES = 10
"""The Inception Score needs an image in each of 10 parts, density and coverage 5 neighbours."""


@dataclass(frozen=True)
class Metric:
    """How to show a metric, and which of two values is better."""

    label: str
    better: Literal["lower", "higher"]
    digits: int  # after the decimal point


METRICS = {
    "fid": Metric("FID", "lower", 3),
    "kid": Metric("KID x1000", "lower", 3),  # times 1000, as in published tables
    "is": Metric("IS", "higher", 3),
    "precision": Metric("precision", "higher", 4),
    "recall": Metric("recall", "higher", 4),
    "density": Metric("density", "higher", 4),
    "coverage": Metric("coverage", "higher", 4),
}
"""By name on the command line, in the order of a table."""


def parse_metrics(text: str) -> tuple[str, ...]:
    """Parse `"fid,kid"` into names, in the order of a table. Raises UsageError."""
    names = {part.strip().lower() for part in text.split(",")}
    for name in sorted(names - METRICS.keys()):
        raise UsageError(f"--metrics {name or repr(text)} is not one of {', '.join(METRICS)}")
    return tuple(name for name in METRICS if name in names)


@dataclass(frozen=True, kw_only=True)
class EvalConfig(CheckpointConfig, CacheConfig, ForeignOptions):
    """Options of `evaluate`.

    Raises:
        UsageError: a value is not allowed.
        OutputError: `neighbours` cannot be written.
    """

    generators: tuple[Path, ...] = option(
        (),
        "Run folders, checkpoints or exported files; without one the latest run.",
        argument=True,
        metavar="[RUN|CHECKPOINT|FILE|builtin]...",
    )
    data: str | None = option(
        None, "The real images, as for train.", metavar="DATA", shown_default="those of the run"
    )
    n: int = option(
        10_000,
        "Generated images per repeat.",
        low=MIN_IMAGES,
        unit="images",
        flags=("-n", "--n"),
    )
    data_n: int | None = advanced(
        None,
        "Number of real images to use, evenly spaced.",
        low=MIN_IMAGES,
        unit="images",
        shown_default="all",
    )
    metrics: tuple[str, ...] | None = option(
        None,
        f"Of {', '.join(METRICS)}.",
        parse=parse_metrics,
        metavar="NAME,...",
        shown_default="all that the features allow",
    )
    features: str = option(
        "inception", "inception, or an ONNX file from pixels to vectors.", metavar="NETWORK"
    )
    feature_range: tuple[float, float] = advanced(
        (-1.0, 1.0),
        "Black and white for an ONNX file with float input.",
        separator=",",
        parse=parse_value_range,
        metavar="LOW,HIGH",
    )
    weights: Path | None = advanced(
        None,
        "Inception's weights, if you have a copy.",
        metavar="FILE",
        shown_default="the cache of torch.hub",
    )
    download: bool = option(False, "Download missing weights and data sets.")
    repeats: int = option(
        1, "Repeats with new seeds; 2 or more give confidence intervals.", low=1, metavar="N"
    )
    per_class: bool = option(
        False,
        "Measure each class too, of its share of the first repeat; the real images need classes.",
    )
    # Repeat r generates the seeds from `seed + r * n` on.
    seed: int = advanced(0, "First seed.", low=0, metavar="SEED")
    batch_size: int = advanced(64, "Images generated at a time.", low=1, unit="images")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")
    trust: bool = advanced(False, "Open TorchScript and pt2 files, which run code.")
    neighbours: Path | None = option(
        None,
        "Write generated images beside the nearest real ones: was the data memorised?",
        metavar="OUT.png",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        from wgan.latents import SEED_LIMIT  # imports numpy, which --help does without

        if self.seed + self.images > SEED_LIMIT:
            raise UsageError(
                f"--seed {self.seed} is not allowed: {self.images} images go beyond the last seed,"
                f" {SEED_LIMIT - 1}"
            )
        if self.metrics is not None:
            parse_metrics(",".join(self.metrics))
        if self.neighbours is not None:
            if len(self.generators) > 1:
                raise UsageError("--neighbours is for one generator: name only one")
            if self.neighbours.suffix.lower() != ".png":
                raise UsageError(
                    f"--neighbours {self.neighbours} is not allowed: its name must end in .png"
                )
            check_output(self.neighbours)

    @property
    def images(self) -> int:
        """Images generated by each generator."""
        return self.n * self.repeats

    @property
    def seeds(self) -> list[range]:
        """The seeds of each repeat."""
        first, last = self.seed, self.seed + self.images
        return [range(start, start + self.n) for start in range(first, last, self.n)]
