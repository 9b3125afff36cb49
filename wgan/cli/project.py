"""`wgan project`."""

import json

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.latent_space.config import ProjectConfig
from wgan.text import plural, printable


@click.command(cls=ConfigCommand)
@protected("PyTorch or ONNX Runtime")
@config_options(ProjectConfig)
@click.option("--json", "as_json", is_flag=True, help="Print the distances as JSON.")
def project(given: Given, as_json: bool) -> None:
    """Find the latents whose images come nearest to given images.

    wgan sample --latents projection.npy draws them. projection.png shows the given images, and
    below each the nearest image of the generator. Distances are the root of the mean squared error
    over several resolutions, in levels of 0 to 255. Ctrl-C keeps the nearest latents so far.
    """
    from wgan.latent_space import project as run  # imports numpy and ONNX Runtime

    config = given.make(ProjectConfig)
    found = run(config, progress=True)
    if found.resized:
        first = found.resized[0]
        height, width, _ = first.pixels.shape
        click.echo(
            printable(
                f"{plural(len(found.resized), 'image')} resized to {width}x{height}, as training"
                f" data is: {first.path} has {first.size[0]}x{first.size[1]} pixels"
            ),
            err=True,
        )
    if as_json:
        files = {"latents": str(config.output), "preview": str(found.preview)}
        click.echo(json.dumps(found.to_dict() | files))
        return
    for target, distance, start in zip(
        found.targets, found.distances, found.start_distances, strict=True
    ):
        click.echo(
            printable(
                f"{target.path}: distance {distance:.1f} of 255 (nearest random image: {start:.1f})"
            )
        )
    click.echo(
        printable(
            f"wrote {plural(len(found.targets), 'latent')} to {config.output}"
            f" and the images to {found.preview}"
        ),
        err=True,
    )
