"""`wgan prepare`."""

from pathlib import Path
from typing import Any

import click

from wgan.cli.skipped import say_skipped
from wgan.errors import needs_extra
from wgan.progress import Progress


@click.command()
@click.argument("data")
@click.argument("shards", type=click.Path(path_type=Path))
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    help="Images per shard.  [10000]",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Resize to SIZE x SIZE pixels, stored as PNG.  [each file as it is]",
)
@click.option("--crop", type=click.IntRange(min=0), help="With --size, as in wgan train.  [0]")
@click.option("--background", help="With --size, as in wgan train.  [white]")
@click.option("--download", is_flag=True, help="Download a data set by name if it is missing.")
@click.option("--allow-damaged", is_flag=True, help="Continue if over 1 % of the data is damaged.")
def prepare(**options: Any) -> None:
    """Write DATA as WebDataset tar shards for streaming.

    For data larger than memory or the cache. DATA is as in wgan train, SHARDS a new folder. The
    images are in random order, and damaged ones are left out.
    """
    # not at the top: wgan --help imports every command
    with needs_extra("train", purpose="preparing data"):
        from wgan.training.data.shard_writer import PrepareConfig
        from wgan.training.data.shard_writer import prepare as write_shards

    given = {name: value for name, value in options.items() if value is not None}
    with Progress(0, "preparing", "images") as progress:
        written = write_shards(PrepareConfig(**given), progress.update)
    say_skipped(written.skipped)
    click.echo(f"{written.count:,} images in {len(written.shards)} shards")
    click.echo(f"train on them with  wgan train '{written.pattern}'")
