"""The command `wgan`: each command parses its options, calls the library and prints.

A command's module is imported when the command is used, and imports PyTorch, numpy and ONNX Runtime
inside the command, so that `wgan --help` is quick.
"""

import logging
import signal
import sys
from importlib import import_module
from typing import Any

import click

from wgan import __version__
from wgan.cli.process import fast_exit, limit_native_threads, open_closed_streams, rank_label
from wgan.errors import RankFailed, RankLost, WganError
from wgan.files import lacks_open_files
from wgan.options import did_you_mean
from wgan.stop import Stopped
from wgan.text import OneLineFormatter, printable

IS_CLI = True
"""The context's object on the command line: commands may set signal handlers and fork."""

COMMANDS = {
    "train": "Train a generator on DATA.",
    "export": "Export a generator as one file that is proved to match PyTorch.",
    "optimize": "Make another project's ONNX generator fast, with proof.",
    "eval": "Measure generators by FID, KID, recall and more.",
    "sample": "Generate images with an exported generator, without PyTorch.",
    "publish": "Write a folder for the Hugging Face Hub: exports, card, app.",
    "serve": "Serve exported generators over HTTP and gRPC, without PyTorch.",
    "project": "Find the latents whose images come nearest to given images.",
    "directions": "Find the directions in which a generator's images change most.",
    "info": "Describe an exported file: ONNX, TorchScript, pt2 or LiteRT.",
    "verify": "Check that an exported file still draws what PyTorch drew.",
    "bench": "Time an exported file on this machine.",
    "prepare": "Write DATA as WebDataset tar shards for streaming.",
    "cache": "List or clear the cache of decoded data and statistics.",
    "completion": "Print a script: the tab key then completes in your shell.",
}
"""Names and summaries of the commands, in the order of `wgan --help`, which is fast because it
imports none of them. The command `train` is `wgan.cli.train.train`, and so on."""


class Commands(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which --help shows them."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` begin with; suggest the nearest name for an unknown one."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(
                f"{args[0]} is not a command.{did_you_mean(args[0], COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        limit_native_threads()
        command: click.Command = getattr(import_module(f"wgan.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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
    """Train a WGAN-GP image generator, export it with proof, run it without PyTorch.

    \b
    wgan train                    train on the built-in data, or on your images
    wgan export --format onnx     write the generator as one self-describing file
    wgan sample -n 64 out.png     draw images from it, using only onnxruntime
    """  # noqa: D301 - click's \b is a real backspace


def explain(exc: BaseException) -> str | None:
    """Return a sentence for an error of the system that no command has explained, or None."""
    if lacks_open_files(exc):
        return "the system allows no more open files: close some, or raise the limit (ulimit -n)"
    if isinstance(exc, MemoryError):
        return "out of memory: free some, or ask for less at a time"
    if isinstance(exc, BlockingIOError) or "can't start new thread" in str(exc):
        return "the system allows no more processes or threads: end some, or raise its limit"
    if isinstance(exc, ImportError) and "failed to map segment" in str(exc):
        return f"out of memory: free some, or raise the limit (ulimit -v): {exc}"
    if isinstance(exc, OSError):
        return f"{exc.strerror or exc}" + (f": {exc.filename}" if exc.filename else "")
    return None


def main() -> None:
    """Run the command line; a user's mistake prints one sentence and exits with status 1 or 2."""
    open_closed_streams()
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)  # the level of wgan.server is INFO
    handler.setFormatter(OneLineFormatter("Warning: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    try:
        cli(prog_name="wgan", obj=IS_CLI)
    except RankLost as exc:
        if not isinstance(exc, RankFailed):
            click.echo(f"Error{rank_label()}: {printable(exc)}", err=True)
        fast_exit(exc.exit_status)  # closing connections to lost processes may never return
    except WganError as exc:
        click.echo(f"Error{rank_label()}: {printable(exc)}", err=True)
        sys.exit(exc.exit_status)
    except Exception as exc:
        said = explain(exc)
        if said is None:
            raise
        click.echo(f"Error{rank_label()}: {printable(said)}", err=True)
        sys.exit(1)
    except Stopped as exc:
        click.echo(printable(exc), err=True)
        fast_exit(exc.exit_status)  # other threads are not joined
