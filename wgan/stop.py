"""Cooperative stopping: SIGINT and SIGTERM set a flag, and long work checks it between its parts.

    with install_stop_handler() as stop:
        for batch in batches:
            check_stop()    # or: if stop.is_set(): ...

An exception raised by the handler itself could interrupt any line, such as an import or code
that holds a lock; a flag is read only where stopping is safe.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

SAME_SIGNAL_S = 1.0
"""The same signal within this time counts once: Ctrl-C reaches a command and its child, to which
the command forwards it, and `timeout` signals a process and then its group."""


class Stopped(BaseException):
    """Work ended early because SIGINT or SIGTERM was received.

    Like KeyboardInterrupt not an Exception: a library's `except Exception` must not swallow it.
    """

    def __init__(self, number: int, message: str = "stopped") -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_status(self) -> int:
        """Exit status of a process that ends because of the signal: 130 or 143."""
        return 128 + self.number


class StopFlag:
    """Whether a signal asked this process to stop, and which. A context manager.

    Leaving the block restores the previous signal handlers.
    """

    def __init__(self) -> None:
        self.number = 0  # of the first signal; 0: none so far
        self.raises = False  # whether a signal raises Stopped at once: see `stop_at_once`
        self._received: dict[int, float] = {}  # when each signal came first
        self._previous: dict[int, Any] = {}
        # Elsewhere than in the main thread Python refuses to set a handler.
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)

    def is_set(self) -> bool:
        """Return True once SIGINT or SIGTERM was received."""
        return self.number != 0

    def check(self) -> None:
        """Raise Stopped once SIGINT or SIGTERM was received."""
        if self.is_set():
            raise Stopped(self.number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        first = self._received.setdefault(number, now)
        if not self.is_set():
            self.number = number
            if sys.stderr.isatty():
                # Not print: the signal may have interrupted another print to the same stream.
                os.write(2, b"\nstopping; press Ctrl-C again to end at once\n")
            if self.raises:
                raise Stopped(number)
        elif now - first >= SAME_SIGNAL_S:
            os._exit(128 + number)  # no thread is joined: one can be inside a long native call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        global _installed
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if _installed is self:
            _installed = None


_installed: StopFlag | None = None


def install_stop_handler() -> StopFlag:
    """Let the first SIGINT or SIGTERM set a flag, and a second one end the process at once.

    Ending at once loses no finished file: files are written beside their names and renamed.
    """
    global _installed
    _installed = StopFlag()
    return _installed


@contextmanager
def stop_at_once() -> Iterator[None]:
    """Let a signal raise Stopped anywhere in the block: for long calls that check no flag.

    Only for code that leaves nothing half done, such as reading or downloading files. Without a
    handler, do nothing.
    """
    flag = _installed
    if flag is None:
        yield
        return
    flag.check()
    before, flag.raises = flag.raises, True
    try:
        yield
    finally:
        flag.raises = before
    flag.check()  # Python swallows what is raised in a finaliser or a callback


def check_stop() -> None:
    """Raise Stopped if a signal set the installed flag; without a handler, do nothing.

    Called between batches, steps and files. In a caller's own Python process, which installs no
    handler, Ctrl-C raises KeyboardInterrupt as usual.
    """
    if _installed is not None:
        _installed.check()
