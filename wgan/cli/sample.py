"""`wgan sample`."""

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import fast_exit, protected
from wgan.runtime.config import SampleConfig
from wgan.text import plural, printable


@click.command(cls=ConfigCommand)
@protected()
@config_options(SampleConfig)
@click.option("-v", "--verbose", is_flag=True, help="Report the provider on standard error.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what was written.")
@click.pass_obj
def sample(is_cli: bool | None, given: Given, verbose: bool, quiet: bool) -> None:
    """Generate images with an exported generator, without PyTorch.

    The ending of OUT chooses the format; by default it is samples.png.

    \b
    out.png out.webp out.jpg   a grid
    out/                       a folder with a PNG for each seed
    out.tar out.zip            an archive of PNGs, named by seed
    out.npy out.npz            pixels, uint8 [n, height, width, channels]
    out.gif out.webp out.mp4   an animation, with --interpolate or --direction
    -                          a PNG on standard output

    The same command resumes a folder or tar that was interrupted. With --ray, out/ is a folder
    of shards, shard-00000.tar and so on, which the workers of a Ray cluster write.
    """  # noqa: D301 - click's \b is a real backspace
    from wgan.runtime import sample as run  # imports numpy and ONNX Runtime

    done = run(given.make(SampleConfig))
    if verbose:
        click.echo(f"running on {done.provider}", err=True)
    if not quiet and done.out != "-":
        click.echo(f"wrote {plural(done.count, 'image')} to {printable(done.out)}", err=True)
    if is_cli:
        fast_exit()
