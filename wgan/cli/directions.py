"""`wgan directions`."""

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.latent_space.config import DirectionsConfig
from wgan.text import plural, printable


@click.command(cls=ConfigCommand)
@protected("PyTorch or ONNX Runtime")
@config_options(DirectionsConfig)
def directions(given: Given) -> None:
    """Find the directions in which a generator's images change most.

    OUT.npy holds them, float32 [n, latent_dim], each of length 1, the strongest first. A PNG of the
    same name shows the first five, a row each.

    \b
    wgan sample --direction OUT.npy:0   images along the first
    wgan serve --directions OUT.npy     a page with sliders for the first five
    """  # noqa: D301 - click's \b is a real backspace
    from wgan.latent_space import find_directions  # imports numpy and ONNX Runtime

    config = given.make(DirectionsConfig)
    found = find_directions(config, progress=True)
    for number, share in enumerate(found.shares):
        click.echo(f"{number:4}  {share:6.1%} of the variance")
    click.echo(
        printable(
            f"wrote {plural(len(found.directions), 'direction')} to {config.out} and the first ones"
            f" to {found.preview}"
        ),
        err=True,
    )
