"""Progress of a long job on standard error: live on a terminal, a line every ten seconds elsewhere.

`Progress` counts the units of a job, `Stages` names the stages of one whose units nothing counts.
"""

import collections
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from wgan.text import printable

ProgressFn = Callable[[int, int], object]
"""Called now and then with the units done so far and their total."""

LINE_SECONDS = 10.0
"""Interval between lines without a terminal."""

BAR_SECONDS = 0.1
"""Interval between updates of the bar."""

DELAY_SECONDS = 1.0
"""Nothing is shown on a terminal before this time."""

RATE_SECONDS = 30.0
"""The rate is a moving average over this time, so that the time left follows a change."""

MIN_BAR, MAX_BAR = 10, 30
"""Characters of the bar: as many as the terminal has room for beside the figures."""

CYAN, DIM, RESET = "\x1b[36m", "\x1b[2m", "\x1b[0m"


class Progress:
    """Shows the progress of a job on standard error; a context manager.

        with Progress(len(seeds), "sampling", "images") as progress:
            for pixels in generator.stream(seeds):
                progress.advance(len(pixels))

    Args:
        total: number of units of the whole job; 0 if `update` will set it.
        label: name of the job, one or two words.
        unit: what is counted, in the plural.
        done: units that an earlier, interrupted run has done; the rate ignores them.
        file: output, by default standard error.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        total: int,
        label: str,
        unit: str,
        *,
        done: int = 0,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.label, self.unit, self.done = total, label, unit, done
        self._file = sys.stderr if file is None else file
        self._clock = clock
        self._terminal = _can_redraw(self._file)
        self._colour = has_colour(self._file)
        self._drawn = 0  # characters of the bar's line on the terminal
        self._begin = self._shown = clock()
        self._marks = collections.deque([(self._begin, done)])  # (time, done), oldest first

    def advance(self, n: int = 1, extra: str = "") -> None:
        """Count `n` more units as done; `extra` is shown after the rate and the time left."""
        self.done += n
        self._show(extra)

    def update(self, done: int, total: int) -> None:
        """Set the units done so far and their total; a `ProgressFn`."""
        self.total = total
        self.advance(done - self.done)

    def skip(self, n: int = 1) -> None:
        """Count `n` units that were done before; the rate ignores them."""
        self.done += n
        for index, (when, done) in enumerate(self._marks):
            self._marks[index] = (when, done + n)
        self._show("")

    def _show(self, extra: str) -> None:
        now = self._clock()
        if now - self._marks[-1][0] >= BAR_SECONDS:
            self._marks.append((now, self.done))
            # Two marks stay, however old: a rate needs both.
            while len(self._marks) > 2 and now - self._marks[1][0] > RATE_SECONDS:
                self._marks.popleft()
        if self._terminal and now - self._begin >= DELAY_SECONDS:
            if now - self._shown >= BAR_SECONDS or self.done >= self.total:
                self._draw(extra)
                self._shown = now
        elif not self._terminal and now - self._shown >= LINE_SECONDS:
            print(f"{self.label}: {self.done}/{self.total}  {self.figures(extra)}", file=self._file)
            self._file.flush()
            self._shown = now

    def figures(self, extra: str = "") -> str:
        """Return the rate, the time left and `extra`: `"153.2 images/s  0:06:31 left"`."""
        since, before = self._marks[0]
        seconds, count = self._clock() - since, self.done - before
        parts = []
        if seconds > 0 and count > 0:
            left = (self.total - self.done) * seconds / count
            rate = count / seconds
            shown = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
            parts = [f"{shown} {self.unit}/s", f"{clock_time(left)} left"]
        return "  ".join([*parts, extra] if extra else parts)

    def clear(self) -> None:
        """Remove the bar, so that something else can be printed; the next `advance` redraws it."""
        if self._drawn:
            self._file.write(f"\r{' ' * self._drawn}\r")
            self._file.flush()
            self._drawn = 0

    def _draw(self, extra: str) -> None:
        share = min(1.0, self.done / self.total) if self.total else 0.0
        text = f"{share:4.0%}  {self.done:,}/{self.total:,}  {self.figures(extra)}"
        # A line as wide as the terminal would wrap, and a carriage return reach only its last part.
        room = shutil.get_terminal_size().columns - 1 - len(f"{self.label}   ")
        while len(text) > room - MIN_BAR and "  " in text.strip():
            text = text.rpartition("  ")[0]  # a figure without its last digits would be another
        width = max(MIN_BAR, min(MAX_BAR, room - len(text)))
        text = text[: max(0, room - width)]
        filled = round(share * width)
        full, empty = ("━", "━") if self._colour and _can_show("━", self._file) else ("#", "-")
        bar = f"{full * filled}{empty * (width - filled)}"
        length = len(f"{self.label}  {bar} {text}")
        if self._colour:
            bar = f"{CYAN}{bar[:filled]}{RESET}{DIM}{bar[filled:]}{RESET}"
        padding = " " * (self._drawn - length)
        self._file.write(f"\r{self.label}  {bar} {text}{padding}")
        self._file.flush()
        self._drawn = length

    def _clear_for_log(self, record: logging.LogRecord) -> bool:
        """Clear the bar for a log message: a filter of the handlers that lets all pass."""
        self.clear()
        return True

    def __enter__(self) -> Self:
        self._handlers = list(logging.getLogger().handlers) if self._terminal else []
        for handler in self._handlers:
            handler.addFilter(self._clear_for_log)
        return self

    def __exit__(self, *exc: object) -> None:
        for handler in self._handlers:
            handler.removeFilter(self._clear_for_log)
        if self._drawn:
            print(file=self._file)


def has_colour(file: TextIO) -> bool:
    """Whether to colour what is written to `file`: a terminal, unless NO_COLOR forbids it."""
    # Only the newer terminal of Windows always obeys escape sequences.
    obeys = os.name != "nt" or "WT_SESSION" in os.environ
    return obeys and not os.environ.get("NO_COLOR") and _can_redraw(file)


def _can_redraw(file: TextIO) -> bool:
    """Whether `file` is a terminal that returns to the start of a line: a dumb one cannot."""
    return file.isatty() and os.environ.get("TERM") != "dumb"


def _can_show(text: str, file: TextIO) -> bool:
    try:
        text.encode(file.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


class Stages:
    """Shows which stage of a job is running; a context manager.

    On a terminal a single line, which is removed at the end; elsewhere a line for each stage that
    begins ten seconds or more after the one before it.

    Args:
        file: output, by default standard error.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self, file: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = sys.stderr if file is None else file
        self._clock = clock
        self._terminal = _can_redraw(self._file)
        self._shown = clock()

    def show(self, stage: str) -> None:
        """Show the stage that begins now."""
        now = self._clock()
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            dim, plain = (DIM, RESET) if has_colour(self._file) else ("", "")
            print(f"\r\x1b[K{dim}{printable(stage)[:width]}{plain}", end="", file=self._file)
        elif now - self._shown >= LINE_SECONDS:
            print(printable(stage), file=self._file)
            self._shown = now
        self._file.flush()

    def clear(self) -> None:
        """Remove the line from a terminal, before something else is printed."""
        if self._terminal:
            print("\r\x1b[K", end="", file=self._file, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.clear()


def clock_time(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds: `"0:06:31"`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
