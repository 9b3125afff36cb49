"""How far a long job is: a bar on a terminal, a line every ten seconds elsewhere."""

import collections
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

ProgressFn = Callable[[int, int], object]
"""Called with the units done so far and in all."""

LINE_SECONDS = 10.0
"""How often a line is written where there is no terminal."""

BAR_SECONDS = 0.1
"""How often the bar is drawn."""

DELAY_SECONDS = 1.0
"""A job that is over sooner shows nothing on a terminal."""

RATE_SECONDS = 30.0
"""The rate is that of the last so many seconds, so that the time left follows a change."""


class Progress:
    """Shows how far a job is on standard error; a context manager.

        with Progress(len(seeds), "sampling", "images") as progress:
            for pixels in generator.stream(seeds):
                progress.advance(len(pixels))

    Args:
        total: how many units the whole job has.
        label: what is being done, one word or two.
        unit: what is counted, in the plural.
        done: units that an earlier, interrupted run has done; they count for no rate.
        file: where it is shown, by default standard error.
        clock: seconds that never run backwards.
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
        self._terminal = self._file.isatty()
        self._bar: ProgressBar[str] | None = None
        self._begin = self._shown = clock()
        self._marks = collections.deque([(self._begin, done)])  # (time, done), oldest first

    def advance(self, n: int = 1, extra: str = "") -> None:
        """Count `n` units as done; `extra` is shown behind the figures."""
        self.done += n
        self._show(extra)

    def skip(self, n: int = 1) -> None:
        """Count `n` units that were done before; they count for no rate."""
        self.done += n
        for index, (when, done) in enumerate(self._marks):
            self._marks[index] = (when, done + n)
        self._show("")

    def _show(self, extra: str) -> None:
        now = self._clock()
        if now - self._marks[-1][0] >= BAR_SECONDS:
            self._mark(now)
        if self._terminal and now - self._begin >= DELAY_SECONDS:
            if now - self._shown >= BAR_SECONDS or self.done >= self.total:
                self._draw(extra)
                self._shown = now
        elif not self._terminal and now - self._shown >= LINE_SECONDS:
            print(f"{self.label}: {self.done}/{self.total}  {self.figures(extra)}", file=self._file)
            self._file.flush()
            self._shown = now

    def figures(self, extra: str = "") -> str:
        """The rate, the time left, and `extra`: `"153.2 images/s  0:06:31 left"`."""
        since, before = self._marks[0]
        seconds, count = self._clock() - since, self.done - before
        parts = []
        if seconds > 0 and count > 0:
            left = (self.total - self.done) * seconds / count
            rate = count / seconds
            shown = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
            parts = [f"{shown} {self.unit}/s", f"{_clock_time(left)} left"]
        return "  ".join([*parts, extra] if extra else parts)

    def _mark(self, now: float) -> None:
        self._marks.append((now, self.done))
        while len(self._marks) > 2 and now - self._marks[1][0] > RATE_SECONDS:
            self._marks.popleft()

    def _draw(self, extra: str) -> None:
        if self._bar is None:
            self._bar = self._make_bar()
        self._bar.update(self.done - self._bar.pos, self.figures(extra))

    def _make_bar(self) -> "ProgressBar[str]":
        import click  # not before something is drawn: short jobs stay quick

        bar: ProgressBar[str] = click.progressbar(
            length=self.total,
            label=self.label,
            file=self._file,
            show_eta=False,  # it would count `done` among the work of this run
            show_pos=True,
            item_show_func=lambda text: text,
        )
        return bar.__enter__()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:  # the next output begins on a line of its own
            self._bar.__exit__(kind, error, traceback)


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
