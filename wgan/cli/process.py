"""A command's process: how a signal ends it, and how a crash of native code does."""

import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

import click

STOPPING = (signal.SIGINT, signal.SIGTERM)

IMPATIENCE_SECONDS = 1.0
"""A second signal, so long after the first or later, ends the work at once."""

_RETRY_SECONDS = 0.05  # where Stopped could not be raised, or was swallowed

_LET_FINISH = {
    "_frozen_importlib", "_frozen_importlib_external", "importlib", "threading", "queue",
    "concurrent", "ray",
}  # fmt: skip
"""Packages that an exception out of nowhere may leave with a lock that is never let go; Ray's
native code goes on with the exception set."""

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

    Code that holds locks is let finish, an import for one, which other threads would wait for
    for ever. So is a wait for a thread, through `threading` or `concurrent`, and a loop that does
    little else is stopped at its end: wait in C, as `wgan.parallel` does.
    And code that is interrupted may swallow what is raised, as finalizers do: once nothing holds
    the exception any more, a cycle of garbage neither, it is raised anew. Windows has no timer for
    either.

    To be followed by `end_raising`.
    """
    raiser = _Raiser()
    for number in STOPPING:
        signal.signal(number, raiser.stop)
    if sys.platform != "win32":
        sys.unraisablehook = _pass_over_stopped


def end_raising() -> None:
    """Ignore what `raise_on_signals` raises for, now that the work is over and its end stands.

    Python gives the timer's signal back its first meaning as it ends, which is to kill.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, 0)


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
    # Blocked until they are waited for: one that came just before would go unseen.
    awaited = (*STOPPING, signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or there may be no child to ask about its end
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _wait_for(child, engine, awaited)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    import ctypes

    # Whoever kills the parent means the work.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def guard(owns_process: bool | None, engine: str = "ONNX Runtime") -> None:
    """What a command that opens a model does first: `raise_on_signals` and `survive_crashes`.

    Nothing where somebody else's process is not to be forked, as that of a caller from Python.
    """
    if owns_process:
        click.get_current_context().call_on_close(end_raising)
        raise_on_signals()  # first, so that the child is never without
        survive_crashes(engine)


def end_at_once(status: int = 0) -> NoReturn:
    """End the process, all that was to be written written.

    Taking numpy and ONNX Runtime apart takes longer than drawing a few images.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def rank_label() -> str:
    """Which of several processes that train together speaks; nothing for the one that leads."""
    rank = os.environ.get("RANK", "0")
    return "" if rank == "0" else f" (process {rank})"


class _Raiser:
    """Raises Stopped, and raises it anew where it was swallowed."""

    def __init__(self) -> None:
        self._stops = False
        self._raised: Callable[[], Stopped | None] = lambda: None

    def stop(self, number: int, frame: FrameType | None) -> None:
        if self._stops:
            return
        self._stops = True
        if sys.platform == "win32":
            raise Stopped(number)
        signal.signal(signal.SIGALRM, lambda _, frame: self._raise(number, frame))
        signal.setitimer(signal.ITIMER_REAL, _RETRY_SECONDS, _RETRY_SECONDS)
        self._raise(number, frame)

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self._raised() is None and not _must_finish(frame):
            raise self._watched(Stopped(number))

    def _watched(self, error: Stopped) -> Stopped:
        # Here and not in the frame that raises: a traceback holds its frames' variables, and the
        # exception would hold itself.
        self._raised = weakref.ref(error)
        return error


def _must_finish(frame: FrameType | None) -> bool:
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _LET_FINISH:
            return True
        frame = frame.f_back
    return False


def _pass_over_stopped(unraisable: "sys.UnraisableHookArgs") -> None:
    """Say nothing of a Stopped that was swallowed: it is raised anew."""
    if not issubclass(unraisable.exc_type, Stopped):
        sys.__unraisablehook__(unraisable)


def _wait_for(child: int, engine: str, awaited: Iterable[signal.Signals]) -> NoReturn:
    """End as the child does, passing on the signals that arrive meanwhile."""
    first: float | None = None
    ended, status = 0, 0
    while not ended:
        number = signal.sigwait(awaited)
        if number in STOPPING:
            now = time.monotonic()
            first = now if first is None else first
            impatient = now - first >= IMPATIENCE_SECONDS
            os.kill(child, signal.SIGKILL if impatient else number)
        ended, status = os.waitpid(child, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    if code < 0 and first is None:
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
