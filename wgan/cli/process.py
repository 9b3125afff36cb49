"""A command's process: signals, crashes of native code, a quick end."""

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from wgan.host import usable_cores
from wgan.parallel import startable_threads
from wgan.sandbox import continue_in_child
from wgan.stop import install_stop_handler


def protect_process(is_cli: bool | None, engine: str = "ONNX Runtime") -> None:
    """Handle signals and survive crashes of `engine`: the first call of a command that runs models.

    Does nothing in a caller's own Python process, whose handlers are not changed and which is not
    forked.
    """
    if is_cli:
        install_stop_handler()  # before the fork, so that the child never is without
        continue_in_child(engine)


def protected(engine: str = "ONNX Runtime") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Call `protect_process` before a command reads its options, which may import numpy.

    numpy starts threads, and a process should have only one when it forks.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*args: Any, **values: Any) -> Any:
            protect_process(click.get_current_context().obj, engine)
            return command(*args, **values)

        return run

    return decorate


def open_closed_streams() -> None:
    """Open the null device in place of each standard stream that the caller closed.

    Python has None for such a stream, and the next file that is opened gets its number: what native
    code prints would be written into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)  # else a child process has None again
            mode, errors = ("w" if number else "r"), ("backslashreplace" if number == 2 else None)
            setattr(sys, name, os.fdopen(number, mode, errors=errors, closefd=False))


def limit_native_threads() -> None:
    """Let native libraries start no more threads than the system allows.

    Call it before numpy is imported: OpenBLAS sends its process a SIGINT when it cannot start all
    of its threads, and OpenMP ends the process.
    """
    wanted = usable_cores() - 1
    startable = startable_threads(wanted)
    if startable < wanted:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, str(1 + startable))


def fast_exit(status: int = 0) -> NoReturn:
    """End the process when all output is written.

    Tearing down numpy and ONNX Runtime takes longer than generating a few images.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # runs no atexit handlers and joins no threads


def rank_label() -> str:
    """Name the rank in a message of a distributed training; empty for rank 0."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"
