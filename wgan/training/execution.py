"""Options around a run: its folder and device, the cache, a checkpoint to read, and shards."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from wgan.errors import UsageError
from wgan.image_shape import FITS, Size
from wgan.options import advanced, check, flag, option
from wgan.training.recipes import AUTO, COUNT, FRAMES, POSITIVE, SIZE


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """Which checkpoint of a run, and of which networks: what export and evaluation share."""

    checkpoint: str | None = option(
        None,
        "Checkpoint of a run: latest, best (see wgan train --eval-every), or a step.",
        metavar="NAME|STEP",
        shown_default="latest",
        group="Options",
    )
    arch: str | None = advanced(
        None,
        "Function that built the run's networks, if they are your own.",
        metavar="PACKAGE.MODULE:FUNCTION",
    )


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """The cache of decoded images, which training and evaluation share."""

    cache: Path | None = advanced(
        None,
        "Folder of decoded images and statistics.",
        metavar="FOLDER",
        shown_default="~/.cache/wgan/images",
        group="Cache",
    )
    cache_size: float = advanced(50.0, "Largest size of the cache.", above=0, high=1e9, unit="GB")
    cache_limit: float = advanced(
        20.0, "Largest size of one decoded data set.", above=0, high=1e9, unit="GB"
    )
    no_cache: bool = advanced(False, "Do not use the cache.")

    def __post_init__(self) -> None:
        """Check each field. Raises UsageError."""
        check(self)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig(CacheConfig):
    """How and where a run is computed; not saved, and without effect on its mathematics."""

    run: Path | None = option(
        None,
        "Folder of the run.",
        metavar="FOLDER",
        shown_default="runs/DATA-SIZE-RECIPE",
        group="Run",
    )
    tracker: tuple[str, ...] = option(
        (), "Also log to tensorboard or wandb; can be repeated.", metavar="NAME"
    )
    download: bool = option(
        False, "Download a named data set, or Inception's weights, if missing.", group="Data"
    )
    allow_damaged: bool = advanced(False, "Train even if over 1 % of the images are damaged.")
    weights: Path | None = advanced(
        None, "Inception's weights for --eval-every.", metavar="FILE", group="Run"
    )
    device: str = option(
        "auto", "auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE", group="Device"
    )
    data_on_device: str = advanced(
        "auto", "Keep all images in the GPU's memory; auto does if they fit.", choices=AUTO
    )
    cuda_graph: str = advanced(
        "auto", "Run each step as a CUDA graph.", choices=AUTO, old_flags=("--capture",)
    )
    dist_timeout: float = advanced(
        600.0,
        "Under torchrun, give up a process that does not answer for this long.",
        unit="seconds",
        above=0,
        high=1e6,
    )


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Options of `prepare`. Raises UsageError."""

    data: str = option(MISSING, "What wgan train takes, except shards.", argument=True)
    shards: Path = option(MISSING, "Folder of the shards, new or empty.", argument=True)
    shard_size: int = option(10_000, "Images per shard.", unit="images", **POSITIVE)
    size: Size | None = option(
        None,
        "Resize to this size, N x N or HEIGHT x WIDTH pixels, stored as PNG.",
        shown_default="each file as it is",
        **SIZE,
    )
    fit: str = option(
        "crop", "With --size: crop, pad or stretch images of another shape.", choices=FITS
    )
    channels: int | None = option(
        None,
        "With --size: 1 for grey, 3 for colour, 4 for colour and alpha.",
        choices=(1, 3, 4),
        shown_default="as the data",
    )
    crop: int = option(
        0,
        "With --size: side of a centre crop before resizing; 0 is none.",
        unit="pixels",
        **COUNT,
    )
    background: str = option(
        "white", "With --size: colour of transparency and padding.", metavar="COLOUR"
    )
    data_range: str = option(
        "",
        "With --size: values of black and white in 16-bit, signed or float data, or auto.",
        flags=("--range",),
        metavar="LOW,HIGH|auto",
        shown_default="the whole range of 8 or 16 bits",
    )
    frames: str = option(
        "first", "Which frames of animations and pages of TIFFs are images.", choices=FRAMES
    )
    only_labelled: bool = option(False, "Leave out images without a class.")
    download: bool = option(False, "Download a data set by name if it is missing.")
    allow_damaged: bool = option(False, "Continue if over 1 % of the data is damaged.")

    def __post_init__(self) -> None:
        """Check each field. Raises UsageError."""
        check(self)
        check_data_range(self.data_range)
        for name in ("fit", "channels", "crop", "background", "data_range"):
            if self.size is None and getattr(self, name) != getattr(PrepareConfig, name):
                raise UsageError(
                    f"{flag(name, self)} needs --size: without it, each file is stored as it is;"
                    f" give {flag(name, self)} to  wgan train  instead"
                )


def check_data_range(text: str) -> None:
    """Raise UsageError unless `text` is a range, empty or auto."""
    if text not in ("", "auto"):
        from wgan.training.data.data_range import parse_data_range  # wgan --help needs no numpy

        parse_data_range(text)
