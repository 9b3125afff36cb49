"""`wgan optimize`."""

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.export import proof_text, stages_shown
from wgan.cli.process import protected
from wgan.export.config import OptimizeConfig
from wgan.text import printable


@click.command(cls=ConfigCommand)
@protected("ONNX Runtime")
@config_options(OptimizeConfig)
def optimize(given: Given) -> None:
    """Make another project's ONNX generator fast, with proof.

    FILE is any generator in ONNX, whose images must stay the same. The reference is the file
    itself in ONNX Runtime with optimisations off. The new file has the input latents and the
    outputs images and pixels, as those of wgan export have, and sample, serve, bench, eval, info
    and verify take it.
    """
    from wgan.export.optimizing import optimize as run

    config = given.make(OptimizeConfig)
    with stages_shown() as stages:
        manifest = run(config)
        stages.clear()
    click.echo(f"{printable(config.path)}: {proof_text(manifest, 'the original')}")
