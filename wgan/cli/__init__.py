"""The command `wgan`: each command parses, calls the library and prints.

A command's module is imported when the command is given, and its heavy imports stand inside the
command, so that `wgan --help` loads none of them.
"""

import logging
import signal
import sys
from importlib import import_module
from typing import Any

import click

from wgan import __version__
from wgan.cli.process import end_at_once, rank_label
from wgan.errors import RankFailed, RankLost, WganError
from wgan.stop import Stopped

OWNS_PROCESS = True
"""Told to the commands: they may set signal handlers and fork, as no caller from Python wants."""


COMMANDS = ("train", "export", "eval", "sample", "serve", "info", "verify", "bench", "prepare")
"""Each a function in the module of its name, `wgan.cli.train` and so on; in the help's order."""


class Commands(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, as they are shown."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"wgan.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C exits with status 130, where click would exit with 1."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped(signal.SIGINT) from None


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="wgan")
def cli() -> None:
    """Train a WGAN-GP image generator, export it with proof, run it with no PyTorch.

    \b
    wgan train                    train on the built-in data, or on your images
    wgan export --format onnx     write the generator as one self-describing file
    wgan sample -n 64 out.png     draw from it with onnxruntime alone
    """  # noqa: D301 - click's \b is a real backspace


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence and exit status 1 or 2."""
    logging.basicConfig(format="Warning: %(message)s", level=logging.WARNING)
    try:
        cli(obj=OWNS_PROCESS)
    except RankLost as exc:
        if not isinstance(exc, RankFailed):
            click.echo(f"Error{rank_label()}: {exc}", err=True)
        end_at_once(exc.exit_status)  # to close ways to processes that are gone may take for ever
    except WganError as exc:
        click.echo(f"Error{rank_label()}: {exc}", err=True)
        sys.exit(exc.exit_status)
    except MemoryError:
        click.echo("Error: there is not enough memory: try a smaller --batch-size", err=True)
        sys.exit(1)
    except Stopped as exc:
        click.echo(str(exc), err=True)
        end_at_once(exc.exit_status)  # other threads are not joined
