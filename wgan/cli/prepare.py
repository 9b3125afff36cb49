"""`wgan prepare`."""

from pathlib import Path

import click

from wgan.cli.skipped import say_skipped
from wgan.errors import UsageError, needs_extra
from wgan.progress import Progress


@click.command()
@click.argument("data")
@click.argument("shards", type=click.Path(path_type=Path))
@click.option(
    "--shard-size",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Images in a shard.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1),
    help="Resize to so many pixels each way and keep PNG.  [each file as it is]",
)
@click.option(
    "--crop", type=click.IntRange(min=0), default=0, help="With --size, as in wgan train."
)
@click.option("--background", default="white", help="With --size, as in wgan train.")
@click.option("--download", is_flag=True, help="Fetch a data set by name if it is not there.")
@click.option("--allow-damaged", is_flag=True, help="Go on when over 1 % of the data is damaged.")
def prepare(
    data: str,
    shards: Path,
    shard_size: int,
    size: int | None,
    crop: int,
    background: str,
    download: bool,
    allow_damaged: bool,
) -> None:
    """Write DATA as tar shards of WebDataset, to be streamed.

    For data that is more than memory or the cache can hold. DATA is what wgan train takes, SHARDS
    a folder that is made. Each image is decoded once, so that no damaged one gets in; they come
    in a random order.
    """
    with needs_extra("train", purpose="preparing data"):
        from wgan.training.data import Transform, open_source, parse_colour
        from wgan.training.data.streaming.prepare import write_shards
        from wgan.training.data.streaming.shards import is_pattern

    if is_pattern(data):
        raise UsageError(f"{data} names shards already: stream them with  wgan train '{data}'")
    source = open_source(data, download)
    transform = size and Transform(
        size=size, channels=source.channels, crop=crop, background=parse_colour(background)
    )
    with Progress(len(source), "preparing", "images") as progress:
        written = write_shards(
            source,
            shards,
            shard_size=shard_size,
            transform=transform or None,
            allow_damaged=allow_damaged,
            progress=lambda done, _: progress.advance(done - progress.done),
        )
    say_skipped(written.skipped)
    click.echo(f"{written.count:,} images in {len(written.shards)} shards")
    click.echo(f"train on them with  wgan train '{written.pattern}'")
