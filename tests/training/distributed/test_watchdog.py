"""A process that waits for ever is ended with a sentence; one that is fed is left alone."""

import sys
import time
from pathlib import Path

import pytest

from tests.processes import run

SCRIPT = """
import contextlib, io, threading, time
from wgan.training.distributed.watchdog import Watchdog

watchdog = Watchdog({seconds}, "nobody answered")
for _ in range({meals}):
    watchdog.feed()
    time.sleep(0.05)
{then}
print("at the end")
"""


@pytest.mark.parametrize(
    ("seconds", "meals", "then", "status"),
    [
        (0.2, 3, "threading.Event().wait(60)", 1),
        (0.2, 3, "with contextlib.redirect_stderr(io.StringIO()): threading.Event().wait(60)", 1),
        (60, 10, "", 0),
        (1, 3, "watchdog.stop(); time.sleep(2)", 0),
        (0.2, 0, "time.sleep(0.5)", 0),  # it begins with the first meal
    ],
    ids=["starved", "starved and kept quiet", "fed", "stopped", "never begun"],
)
def test_a_process_that_is_not_fed_is_ended(
    tmp_path: Path, seconds: float, meals: int, then: str, status: int
) -> None:
    begin = time.monotonic()
    script = SCRIPT.format(seconds=seconds, meals=meals, then=then)
    finished = run([sys.executable, "-c", script], tmp_path)
    assert finished.returncode == status, finished.stderr
    assert finished.stderr == ("Error: nobody answered\n" if status else "")
    assert ("at the end" in finished.stdout) == (status == 0)
    assert time.monotonic() - begin < 30
