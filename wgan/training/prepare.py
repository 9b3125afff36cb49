"""The work of `wgan prepare`: write a data set as shards."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wgan.errors import UsageError, needs_extra
from wgan.options import check, option

if TYPE_CHECKING:
    from wgan.progress import ProgressFn
    from wgan.training.data.shard_writer import WrittenShards


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Options of `prepare`. Raises UsageError."""

    data: str = option(MISSING, "What wgan train takes, except shards.", argument=True)
    shards: Path = option(MISSING, "Folder of the shards, new or empty.", argument=True)
    shard_size: int = option(10_000, "Images per shard.", low=1, unit="images")
    size: int | None = option(
        None,
        "Resize to SIZE x SIZE pixels, stored as PNG.",
        low=1,
        unit="pixels",
        metavar="SIZE",
        shown_default="each file as it is",
    )
    crop: int = option(
        0, "With --size: side of a centre crop before resizing; 0 is none.", low=0, unit="pixels"
    )
    background: str = option(
        "white", "With --size: colour under transparent pixels.", metavar="COLOUR"
    )
    download: bool = option(False, "Download a data set by name if it is missing.")
    allow_damaged: bool = option(False, "Continue if over 1 % of the data is damaged.")

    def __post_init__(self) -> None:
        check(self)


def prepare(config: PrepareConfig, progress: "ProgressFn | None" = None) -> "WrittenShards":
    """Write a data set as WebDataset shards, in random order and without damaged images.

    Args:
        config: the options.
        progress: called with (done, total) images.

    Raises:
        UsageError: the data are shards already, or the background is no colour.
        DataError: the data does not exist, or too many images are damaged.
        OutputError: the folder is not empty, or cannot be written.
        MissingExtra: a package is not installed.
    """
    with needs_extra("train", purpose="preparing data"):
        from wgan.training.data import Transform, open_source, parse_colour
        from wgan.training.data.shard_writer import write_shards
        from wgan.training.data.shards import is_pattern

    if is_pattern(config.data):
        raise UsageError(
            f"{config.data} are shards already: train on them with  wgan train '{config.data}'"
        )
    source = open_source(config.data, config.download)
    transform = None
    if config.size is not None:
        transform = Transform(
            size=config.size,
            channels=source.channels,
            crop=config.crop,
            background=parse_colour(config.background),
        )
    return write_shards(
        source,
        config.shards,
        shard_size=config.shard_size,
        transform=transform,
        allow_damaged=config.allow_damaged,
        progress=progress,
    )
