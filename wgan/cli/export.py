"""`wgan export`."""

import click

from wgan.cli.options import ConfigCommand, Given, config_options
from wgan.export import ExportConfig, ExportedFile
from wgan.export import export as export_generator
from wgan.stop import install_stop_handler


@click.command(cls=ConfigCommand)
@config_options(ExportConfig)
def export(given: Given) -> None:
    """Export a generator as one file that is proved to match PyTorch.

    The source is a run's folder or a checkpoint, by default the latest run. Of a run, the newest
    checkpoint is exported unless --checkpoint names another. The weights are the moving average
    (EMA). An export whose images differ from PyTorch's by more than the tolerance is refused and
    not written. docs/exporting.md lists the tolerances; the manifest records looser ones.
    """

    def show(file: ExportedFile) -> None:
        manifest, seen = file.manifest, file.manifest.receipt.seen
        click.echo(
            f"{file.path}: step {manifest.step}, {manifest.precision} for {manifest.target}; within"
            f" {seen.images:.1e} of PyTorch in float, {seen.pixels} of 255 in pixels,"
            f" PSNR {seen.psnr:.0f} dB"
        )

    with install_stop_handler():
        export_generator(given.make(ExportConfig), on_file=show)
