"""The work of `wgan prepare`: write a data set as shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wgan.errors import UsageError, needs_extra

if TYPE_CHECKING:
    from wgan.progress import ProgressFn
    from wgan.training.data.streaming.writer import WrittenShards


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """Options of `prepare`."""

    data: str  # what `wgan train` takes, except shards
    shards: Path  # folder of the shards, new or empty
    shard_size: int = 10_000  # images per shard
    size: int | None = None  # resize to size x size pixels, stored as PNG; None: each file as it is
    crop: int = 0  # with size: side in pixels of a centre crop before resizing
    background: str = "white"  # with size: colour under transparent pixels
    download: bool = False  # download a data set by name if it is missing
    allow_damaged: bool = False  # continue if more than 1 % of the images are damaged


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
        from wgan.training.data.streaming.shards import is_pattern
        from wgan.training.data.streaming.writer import write_shards

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
