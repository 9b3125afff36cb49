"""Cooperative stopping: SIGINT and SIGTERM set a flag, and long work checks it between its parts.

    with install_stop_handler() as stop:
        for batch in batches:
            check_stop()    # or: if stop.is_set(): ...

An exception raised by the handler itself could interrupt any line, such as an import or code
that holds a lock; a flag is read only where stopping is safe. `interrupting` ends native code that
would not end by itself, such as an endless loop in a model file.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
        self._raised = False  # whether one has: not again while the block is being left
        self._received: dict[int, float] = {}  # when each signal came first
        self._previous: dict[int, Any] = {}
        self._actions: list[Callable[[], object]] = []  # of `interrupting`, in all threads
        self._watched_by = 0  # the process whose thread reads `_pipe`: a fork has no threads
        self._pipe: tuple[int, int] | None = None
        # Elsewhere than in the main thread Python refuses to set a handler.
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
            if os.name == "posix":
                self._woken = self._open_pipe()

    def is_set(self) -> bool:
        """Return True once SIGINT or SIGTERM was received."""
        return self.number != 0

    def check(self) -> None:
        """Raise Stopped once SIGINT or SIGTERM was received."""
        if self.is_set():
            raise Stopped(self.number)

    def interrupt(self, action: Callable[[], object]) -> Callable[[], None]:
        """Call `action` from another thread when a signal comes; return what takes that back."""
        if self._pipe is not None and self._watched_by != os.getpid():
            # A fork has the pipe of the process that forked it, which reads it too.
            if self._watched_by and threading.current_thread() is threading.main_thread():
                self._open_pipe()
            self._watched_by = os.getpid()
            threading.Thread(target=self._watch, args=self._pipe[:1], daemon=True).start()
        self._actions.append(action)
        return lambda: self._actions.remove(action)

    def _open_pipe(self) -> int:
        """Let Python's handler in C write to a new pipe; return where it wrote before."""
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        return signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)

    def _watch(self, pipe: int) -> None:
        """Act on signals while the main thread is in native code, where Python runs no handler.

        Python's handler in C writes the number of each signal to the pipe at once.
        """
        while numbers := os.read(pipe, 64):
            for number in set(numbers) & set(STOP_SIGNALS):
                self._count(number)
                for action in list(self._actions):
                    action()
        os.close(pipe)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # With a watcher this can run much later than the signal, which was counted then. That both
        # count one signal at once does no harm: only one that comes SAME_SIGNAL_S later ends it.
        if not self.is_set() or self._watched_by != os.getpid():
            self._count(number)
        # Not only if it was counted here: the watcher may have been quicker.
        if self.raises and not self._raised:
            self._raised = True
            raise Stopped(number)

    def _count(self, number: int) -> None:
        now = time.monotonic()
        first = self._received.setdefault(number, now)
        if not self.is_set():
            self.number = number
            if sys.stderr.isatty():
                # Not print: the signal may have interrupted another print to the same stream.
                os.write(2, b"\nstopping; press Ctrl-C again to end at once\n")
        elif now - first >= SAME_SIGNAL_S:
            os._exit(128 + number)  # no thread is joined: one can be inside a long native call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        global _installed
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self._pipe is not None:
            if (current := signal.set_wakeup_fd(self._woken)) != self._pipe[1]:
                signal.set_wakeup_fd(current)  # an event loop has set its own meanwhile
            os.close(self._pipe[1])  # ends the watching thread
            if not self._watched_by:
                os.close(self._pipe[0])
            self._pipe = None
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


@contextlib.contextmanager
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


@contextlib.contextmanager
def interrupting(action: Callable[[], object]) -> Iterator[None]:
    """Let a signal call `action`, which ends the native code of the block, from another thread.

    Without a handler, as in a caller's own Python process, it does nothing.

    Raises:
        Stopped: a signal came before the block or during it.
    """
    if _installed is None:
        yield
        return
    take_back = _installed.interrupt(action)
    try:
        check_stop()
        yield
    finally:
        take_back()
        check_stop()
