"""`wgan prepare`."""

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.skipped import print_survey, report_skipped
from wgan.errors import needs_extra
from wgan.progress import Progress
from wgan.stop import install_stop_handler
from wgan.text import plural, shell_quote
from wgan.training.execution import PrepareConfig


@click.command(cls=ConfigCommand)
@config_options(PrepareConfig)
def prepare(given: Given) -> None:
    """Write DATA as WebDataset tar shards for streaming.

    For data larger than memory or the cache. DATA is as in wgan train, SHARDS a new folder. Images
    are shuffled; rows of a large table only within a few row groups at a time, a compressed .tar
    not at all. Damaged images are left out.
    """
    config = given.make(PrepareConfig)
    with install_stop_handler(), Progress(0, "preparing", "images") as progress:
        with needs_extra("train", purpose="preparing data"):
            from wgan.training.data.shard_writer import prepare as write_shards
        written = write_shards(config, progress.update, print_survey)
    report_skipped(written.skipped)
    shards = plural(len(written.shards), "shard")
    click.echo(f"{plural(written.count, 'image')} in {shards}")
    click.echo(f"train on them with  wgan train {shell_quote(written.pattern)}")
