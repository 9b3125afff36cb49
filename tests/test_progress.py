import io
import logging

import pytest

from wgan.progress import Progress, Stages


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def work(file: io.StringIO, seconds: list[float], *, done: int = 0) -> list[str]:
    """Advance by 10 after each of `seconds` and return the lines written."""
    clock = Clock()
    with Progress(1000, "sampling", "images", done=done, file=file, clock=clock) as progress:
        for passed in seconds:
            clock.now += passed
            progress.advance(10, "loss 0.5")
    return file.getvalue().splitlines()


def test_without_a_terminal_a_line_is_written_every_ten_seconds() -> None:
    lines = work(io.StringIO(), [1.0] * 25)
    assert lines == [
        "sampling: 100/1000  10.0 images/s  0:01:30 left  loss 0.5",
        "sampling: 200/1000  10.0 images/s  0:01:20 left  loss 0.5",
    ]


def test_a_short_job_shows_nothing() -> None:
    assert work(io.StringIO(), [0.1] * 9) == []
    assert work(Terminal(), [0.1] * 9) == []


def test_a_terminal_shows_a_bar() -> None:
    text = "\r".join(work(Terminal(), [0.5] * 4))
    assert "sampling" in text
    assert "40/1,000" in text
    assert "20.0 images/s  0:00:48 left  loss 0.5" in text


def test_a_bar_fits_into_the_terminal_and_is_removed_for_other_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    clock, file = Clock(), Terminal()
    with Progress(1000, "training", "steps", file=file, clock=clock) as progress:
        clock.now += 2
        progress.advance(500, "a long text " * 9)
        line = file.getvalue()
        assert len(line.removeprefix("\r")) == 49
        assert line == f"\rtraining  {'#' * 12}{'-' * 11}  50%  500/1,000"
        progress.clear()
        assert file.getvalue() == line + "\r" + " " * 49 + "\r"


@pytest.mark.parametrize("columns", range(30, 130, 3))
def test_a_bar_shows_whole_figures_only(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, file = Clock(), Terminal()
    with Progress(50_000, "training", "steps", file=file, clock=clock) as progress:
        clock.now += 100
        progress.advance(1234, "W 12.3  penalty 0.0345  489 images/s")
        line = file.getvalue()
    assert len(line.removeprefix("\r")) < max(columns, 32)
    shown = line.strip().split("  ")[2:]
    figures = ["2%", "1,234/50,000", "12.3 steps/s", "1:05:52 left", "W 12.3", "penalty 0.0345"]
    assert [part.strip() for part in shown] == [*figures, "489 images/s"][: len(shown)]


def test_a_log_message_gets_a_line_of_its_own() -> None:
    clock, file = Clock(), Terminal()
    handler = logging.StreamHandler(file)
    logging.getLogger().addHandler(handler)
    with Progress(1000, "training", "steps", file=file, clock=clock) as progress:
        clock.now += 2
        progress.advance(500)
        logging.getLogger("wgan.test").warning("a warning")
    logging.getLogger().removeHandler(handler)
    assert file.getvalue().endswith(" \ra warning\n")
    assert not handler.filters


def test_colour_is_for_terminals_and_obeys_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in "".join(work(Terminal(), [2.0]))
    assert "\x1b[" not in "".join(work(io.StringIO(), [20.0]))
    monkeypatch.setenv("NO_COLOR", "1")
    plain = "".join(work(Terminal(), [2.0]))
    assert "---" in plain
    assert "\x1b" not in plain


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert work(Terminal(), [20.0])[0].startswith("sampling: 10/1000")


def test_the_rate_ignores_units_of_an_earlier_run() -> None:
    assert work(io.StringIO(), [5.0, 5.0], done=500) == [
        "sampling: 520/1000  2.0 images/s  0:04:00 left  loss 0.5"
    ]


def test_the_rate_ignores_skipped_units() -> None:
    clock, file = Clock(), io.StringIO()
    with Progress(1000, "sampling", "images", file=file, clock=clock) as progress:
        for _ in range(10):
            clock.now += 1.0
            progress.skip(40)
            progress.advance(10)
    assert file.getvalue() == "sampling: 490/1000  9.0 images/s  0:00:57 left\n"


def test_the_rate_follows_a_change_of_pace() -> None:
    lines = work(io.StringIO(), [0.1] * 10 + [10.0] * 6)
    assert "1.0 images/s" in lines[-1]


def test_the_time_left_may_be_hours() -> None:
    assert work(io.StringIO(), [600.0]) == [
        "sampling: 10/1000  0.017 images/s  16:30:00 left  loss 0.5"
    ]


def test_a_callback_sets_the_units_done_and_their_total() -> None:
    with Progress(0, "decoding", "images", file=io.StringIO()) as progress:
        progress.update(16, 100)
        progress.update(32, 100)
    assert (progress.done, progress.total) == (32, 100)


def stages_of(file: io.StringIO, seconds: list[float]) -> str:
    """What is written for stages that begin after each of `seconds`."""
    clock = Clock()
    with Stages(file, clock) as stages:
        for number, passed in enumerate(seconds):
            clock.now += passed
            stages.show(f"stage {number}\x1b[2J")
    return file.getvalue()


def test_a_terminal_shows_the_stage_in_colour_and_removes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    written = stages_of(Terminal(), [0, 1])
    assert "\r\x1b[K\x1b[2mstage 1\\x1b[2J\x1b[0m" in written
    assert written.endswith("\r\x1b[K")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[2m" not in stages_of(Terminal(), [0, 1])
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in stages_of(Terminal(), [0, 60])


def test_without_a_terminal_only_stages_of_a_long_job_are_lines() -> None:
    assert stages_of(io.StringIO(), [1, 2, 3]) == ""
    assert stages_of(io.StringIO(), [1, 10, 3]) == "stage 1\\x1b[2J\n"
