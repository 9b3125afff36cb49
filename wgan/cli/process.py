"""A command's process: how a signal ends it, and how a crash of native code does."""

import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

import click

STOPPING = (signal.SIGINT, signal.SIGTERM)

IMPATIENCE_SECONDS = 1.0
"""A second signal, so long after the first or later, ends the work at once."""

_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


class Stopped(BaseException):
    """SIGINT or SIGTERM asked the process to stop; not an error that a library may catch."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_status = 128 + number


def raise_on_signals() -> None:
    """Let the first SIGINT or SIGTERM raise Stopped, and ignore those that follow.

    A terminal's Ctrl-C arrives twice under `survive_crashes`, and clearing up must not be
    interrupted by the second.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in STOPPING:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for number in STOPPING:
        signal.signal(number, stop)


def survive_crashes(engine: str) -> None:
    """Go on in a child process; the parent waits, and says in a sentence if the child crashed.

    `engine` is the native code that the sentence names.

    A model file may come from anyone, and native code that reads it may crash, which no Python
    can catch. To be called before anything large is imported: the fork is then over in about a
    millisecond. Linux alone; elsewhere this does nothing, since a fork without an exec is not
    safe there.
    """
    if sys.platform != "linux":
        return
    parent = os.getpid()
    child = os.fork()
    if child:
        _wait_for(child, engine)
    import ctypes

    # Whoever kills the parent means the work.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def guard(owns_process: bool | None, engine: str = "ONNX Runtime") -> None:
    """What a command that opens a model does first: `survive_crashes` and `raise_on_signals`.

    Nothing where somebody else's process is not to be forked, as that of a caller from Python.
    """
    if owns_process:
        survive_crashes(engine)
        raise_on_signals()


def end_at_once(status: int = 0) -> NoReturn:
    """End the process, all that was to be written written.

    Taking numpy and ONNX Runtime apart takes longer than drawing a few pictures.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def rank_label() -> str:
    """Which of several processes that train together speaks; nothing for the one that leads."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


def _wait_for(child: int, engine: str) -> NoReturn:
    first: list[float] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        impatient = bool(first) and now - first[0] >= IMPATIENCE_SECONDS
        first.append(now)
        os.kill(child, signal.SIGKILL if impatient else number)

    for number in STOPPING:
        signal.signal(number, forward)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and not first:
        click.echo(f"Error: {_crash(-code, engine)}", err=True)
        os._exit(1)
    os._exit(code if code >= 0 else 128 - code)


def _crash(number: int, engine: str) -> str:
    name = signal.Signals(number).name
    if number == signal.SIGKILL:
        return (
            "the work was killed (SIGKILL), most likely for lack of memory: try a smaller"
            " --batch-size; nothing half-written stands under a final name"
        )
    return (
        f"{engine} crashed ({name}), most likely on a model file that is damaged or not made for"
        " it; nothing half-written stands under a final name"
    )
