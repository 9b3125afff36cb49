"""The command `wgan`: each command parses, calls the library and prints.

A command's heavy imports stand inside it, so that `wgan --help` loads none of them.
"""

import logging
import sys

import click

from wgan import __version__
from wgan.cli.bench import bench
from wgan.cli.export import export
from wgan.cli.info import info
from wgan.cli.prepare import prepare
from wgan.cli.process import Stopped
from wgan.cli.sample import sample
from wgan.cli.serve import serve
from wgan.cli.train import train
from wgan.cli.verify import verify
from wgan.errors import WganError

OWNS_PROCESS = True
"""Told to the commands: they may set signal handlers and fork, as no caller from Python wants."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="wgan")
def cli() -> None:
    """Train a WGAN-GP image generator, export it with proof, run it with no PyTorch.

    \b
    wgan train                    train on the built-in data, or on your pictures
    wgan export --format onnx     write the generator as one self-describing file
    wgan sample -n 64 out.png     draw from it with onnxruntime alone
    """  # noqa: D301 - click's \b is a real backspace


for command in (train, export, sample, serve, info, verify, bench, prepare):
    cli.add_command(command)


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit status 1 or 2."""
    logging.basicConfig(format="Warning: %(message)s", level=logging.WARNING)
    try:
        cli(obj=OWNS_PROCESS)
    except WganError as exc:
        click.echo(f"Error: {exc}", err=True)
        sys.exit(exc.exit_status)
    except MemoryError:
        click.echo("Error: there is not enough memory: try a smaller --batch-size", err=True)
        sys.exit(1)
    except Stopped as exc:
        sys.exit(exc.exit_status)
