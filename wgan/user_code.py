"""User code, as in `--module mygan:make`: `sys.exit` in it becomes a UsageError."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wgan.errors import UsageError
from wgan.files import lacks_open_files
from wgan.text import first_line, shorten

COMMAND_LINE_PARSERS = ("argparse", "click", "optparse", "absl")
"""Packages that read a program's command line, and end the program if it is not theirs."""


@contextmanager
def user_code(option: str, code: str, action: str) -> Iterator[None]:
    """Run user code with `sys.argv` reset to its file name.

    Other errors than those below keep their traceback, which shows the line.

    Args:
        option: what names the code, as in `--module mygan:make`.
        code: its file, or the name of its module.
        action: what wgan does with it, as a participle: "imported", "called".

    Raises:
        UsageError: the code ends the program, or fails to open a file.
    """
    kept, file = sys.argv, code if code.endswith(".py") else f"{code.replace('.', '/')}.py"
    sys.argv = [file]
    try:
        yield
    except SystemExit as exc:
        raise UsageError(f"{option}: {_why_it_ends(exc, file, action)}") from exc
    except OSError as exc:
        if lacks_open_files(exc):
            raise
        reason = exc.strerror or first_line(exc)
        about = f" ({shorten(exc.filename, 200)})" if exc.filename is not None else ""
        raise UsageError(f"{option}: {file} fails when it is {action}: {reason}{about}") from exc
    finally:
        sys.argv = kept


def call(
    option: str, code: str, function: Callable[..., Any], *arguments: Any, expected: str
) -> Any:
    """Call a user's function in `user_code`.

    Raises:
        UsageError: it does not take these arguments: `expected` says what to write instead. Or as
            for `user_code`.
    """
    with user_code(option, code, "called"):
        try:
            return function(*arguments)
        except TypeError as exc:
            if exc.__traceback__ is not None and exc.__traceback__.tb_next is not None:
                raise  # from inside it
            raise UsageError(
                f"{option} cannot be called ({first_line(exc)}): write {expected}"
            ) from exc


def is_dotted(name: str) -> bool:
    """Whether a name is one of a module or an attribute, as `package.module`."""
    return all(part.isidentifier() for part in name.split("."))


def _why_it_ends(exc: SystemExit, file: str, action: str) -> str:
    frames = [
        frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(exc.__traceback__)
    ]
    if any(name.partition(".")[0] in COMMAND_LINE_PARSERS for name in frames):
        return (
            f"{file} reads the command line when it is {action}, where it has no arguments: name a"
            " function that makes the networks from values in the code"
        )
    ends = f"{file} ends the program when it is {action} (exit {shorten(exc.code)})"
    if action == "imported":
        return (
            f'{ends}: move what it does as a script below  if __name__ == "__main__":,  or what'
            " makes the networks to a file of its own"
        )
    return f"{ends}: let it return the networks, or raise an error that says what is wrong"
