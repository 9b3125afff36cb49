"""The stop flag, in processes that signal themselves."""

import sys
from pathlib import Path

import pytest

from tests.processes import run
from wgan.stop import check_stop, install_stop_handler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

PROGRAM = """
import os, signal, time
from wgan.stop import SAME_SIGNAL_S, Stopped, check_stop, install_stop_handler

def send(number):
    os.kill(os.getpid(), number)

stop = install_stop_handler()
try:
{body}
except Stopped as stopped:
    print(stopped, stopped.exit_status)
"""

AFTER_THE_PART = """
    send(signal.SIGTERM)
    print("part complete")
    check_stop()
    print("not reached")
"""

ONE_SIGNAL_TWICE = """
    send(signal.SIGINT)
    send(signal.SIGINT)
    send(signal.SIGTERM)
    check_stop()
"""

SECOND_SIGNAL = """
    send(signal.SIGINT)
    time.sleep(SAME_SIGNAL_S)
    send(signal.SIGINT)
    print("not reached")
"""

SWALLOWED_BY_NOTHING = """
    send(signal.SIGTERM)
    try:
        check_stop()
    except Exception:
        print("swallowed")
"""


@pytest.mark.parametrize(
    ("body", "status", "printed"),
    [
        (AFTER_THE_PART, 0, "part complete\nstopped 143\n"),
        (ONE_SIGNAL_TWICE, 0, "stopped 130\n"),
        (SECOND_SIGNAL, 130, ""),
        (SWALLOWED_BY_NOTHING, 0, "stopped 143\n"),
    ],
    ids=["after the part", "one signal twice", "second signal", "except Exception"],
)
def test_a_signal_stops_the_program_at_its_next_check(
    tmp_path: Path, body: str, status: int, printed: str
) -> None:
    done = run([sys.executable, "-c", PROGRAM.format(body=body)], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (status, printed, "")


def test_leaving_the_block_restores_the_handlers() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    with install_stop_handler() as stop:
        assert signal.getsignal(signal.SIGINT) != before
        assert not stop.is_set()
        check_stop()
    assert signal.getsignal(signal.SIGINT) == before
    check_stop()
