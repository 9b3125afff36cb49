"""Options of `wgan project` and `wgan directions`, checked before any work."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from wgan.errors import UsageError
from wgan.model_file.foreign import ForeignOptions
from wgan.options import advanced, option
from wgan.runtime.config import SEED, STRENGTH_LIMIT, THREADS
from wgan.runtime.engine import DEVICE_NAMES
from wgan.training.execution import CheckpointConfig

DEFAULT_DIRECTIONS = 10
"""Directions that are found unless their number is given."""

IMAGE_LIMIT = 64
"""Most images of one projection: each has its own search."""


@dataclass(frozen=True, kw_only=True)
class LatentSpaceConfig(CheckpointConfig, ForeignOptions):
    """The generator that is looked into, and where it runs."""

    model: str | None = option(
        None,
        "An ONNX file, a run's folder, a checkpoint, or builtin.",
        metavar="FILE",
        shown_default="the latest export",
        group="Model",
    )
    label: str | None = option(
        None, "Class of the images, by name or index, if the model has classes.", metavar="CLASS"
    )
    batch_size: int = advanced(
        64, "Images in a run of the model.", low=1, high=2**16, unit="images"
    )
    device: str = option("auto", "What runs the model.", choices=DEVICE_NAMES)
    threads: int | None = advanced(None, "CPU threads.", **THREADS)


@dataclass(frozen=True, kw_only=True)
class ProjectConfig(LatentSpaceConfig):
    """Which images are projected, and how long the search lasts.

    Raises:
        UsageError: a value is not allowed.
    """

    images: tuple[Path, ...] = option(
        MISSING, "The images to find.", argument=True, metavar="IMAGE..."
    )
    output: Path = option(
        Path("projection.npy"),
        "File of the latents; a PNG beside it shows the images.",
        flags=("-o", "--output"),
        metavar="OUT.npy",
        group="Output",
    )
    method: str = option(
        "auto",
        "gradients needs PyTorch and a run or checkpoint; evolution (CMA-ES) needs neither.",
        choices=("auto", "gradients", "evolution"),
        shown_default="gradients where possible",
        group="Search",
    )
    steps: int = option(500, "Steps of the search by gradients.", low=1, high=10**6, unit="steps")
    evaluations: int = option(
        20_000,
        "Images that the search by evolution generates for each image.",
        low=1,
        high=10**9,
        unit="images",
    )
    restarts: int = advanced(
        1,
        "Searches for each image, which share --evaluations; the nearest result is kept.",
        low=1,
        high=64,
        metavar="N",
    )
    prior: float = advanced(
        0.1,
        "Weight of the penalty on latents longer than those of the training; 0 is off.",
        low=0,
        high=1e6,
        metavar="WEIGHT",
    )
    seed: int = option(0, "Equal seeds give equal results.", **SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.images:
            raise UsageError("no image was given: name at least one")
        if len(self.images) > IMAGE_LIMIT:
            raise UsageError(
                f"{len(self.images)} images are too many at a time: give at most {IMAGE_LIMIT}"
            )
        if self.output.suffix.lower() != ".npy":
            raise UsageError(f"--output {self.output} is not allowed: its name must end in .npy")


@dataclass(frozen=True, kw_only=True)
class DirectionsConfig(LatentSpaceConfig):
    """Which directions are found, and how they are shown.

    Raises:
        UsageError: a value is not allowed.
    """

    out: Path = option(
        Path("directions.npy"),
        "File of the directions; a PNG beside it shows the first ones.",
        argument=True,
        metavar="[OUT.npy]",
    )
    method: str = option(
        "sefa",
        "sefa: of the first layer's weights; pca: of the images of many seeds.",
        choices=("sefa", "pca"),
        group="Directions",
    )
    count: int | None = option(
        None,
        "Number of directions, the strongest first.",
        low=1,
        flags=("-n",),
        metavar="N",
        shown_default=f"{DEFAULT_DIRECTIONS}, or all if they are fewer",
    )
    samples: int = advanced(
        1000, "Seeds whose images pca compares.", low=2, high=4096, unit="images"
    )
    seed: int = option(0, "Seed of the image in the PNG, and the first of pca.", **SEED)
    strength: float = option(
        3.0,
        "How far the PNG goes either way, in standard deviations of a latent.",
        above=0,
        high=STRENGTH_LIMIT,
        metavar="N",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "pca":
            from wgan.latents import check_seed  # imports numpy, which --help does without

            check_seed(self.seed + self.samples - 1)
        if self.out.suffix.lower() != ".npy":
            raise UsageError(f"the output {self.out} is not allowed: its name must end in .npy")
