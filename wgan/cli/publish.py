"""`wgan publish`."""

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.export import stages_shown
from wgan.cli.process import protected
from wgan.export import ExportedFile
from wgan.publishing import PublishConfig
from wgan.publishing import publish as write_folder
from wgan.text import printable, shell_quote


@click.command(cls=ConfigCommand)
@protected("PyTorch or ONNX Runtime")
@config_options(PublishConfig)
def publish(given: Given) -> None:
    """Write a folder for the Hugging Face Hub: exports, card, app.

    Without an EXPORT the latest run is exported, in each precision whose images match PyTorch's.
    FOLDER is then also a model for sample, serve, verify and Generator. Nothing is uploaded: the
    last line of the output is the command that would do that.
    """
    config = given.make(PublishConfig)

    def show(file: ExportedFile) -> None:
        stages.clear()
        click.echo(f"{printable(file.path)}: {file.manifest.precision}")

    with stages_shown() as stages:
        published = write_folder(config, on_export=show)
        stages.clear()
    for name in published.files:
        click.echo(printable(published.folder / name))
    if config.license is None:
        click.echo("The card states no licence: give --license if there is one.", err=True)
    click.echo(f"To upload it:  hf upload {config.address} {shell_quote(published.folder)}")
