"""The stop flag, in processes that signal themselves."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import run
from wgan.stop import Stopped, check_stop, install_stop_handler, interrupting, stop_at_once

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

PROGRAM = """
import os, signal, time
import threading
from wgan.stop import SAME_SIGNAL_S, Stopped, check_stop, install_stop_handler, interrupting

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

ENDED_BY_ANOTHER_THREAD = """
    ended = threading.Event()
    with interrupting(ended.set):  # by another thread: in native code this one runs no handler
        send(signal.SIGTERM)
        print(ended.wait(60))
    print("not reached")
"""

STOPPED_BEFORE = """
    send(signal.SIGTERM)
    with interrupting(lambda: None):
        print("not reached")
"""

COUNTED_BY_THE_WATCHER = """
    import hashlib
    from wgan.stop import stop_at_once
    with interrupting(lambda: None):  # starts the watcher, which counts signals from now on
        pass
    computing = threading.Event()
    def send_then():
        computing.wait()
        send(signal.SIGTERM)
    threading.Thread(target=send_then).start()
    with stop_at_once():
        computing.set()
        while not stop.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000)  # native code: the watcher is quicker
        print("not reached")
"""

AFTER_A_FORK = """
    with interrupting(lambda: None):
        pass
    if os.fork():
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    else:
        ended = threading.Event()
        try:
            with interrupting(ended.set):
                send(signal.SIGINT)
                ended.wait(60)
        except Stopped:
            os._exit(7 if ended.is_set() else 8)
"""


@pytest.mark.parametrize(
    ("body", "status", "printed"),
    [
        (AFTER_THE_PART, 0, "part complete\nstopped 143\n"),
        (ONE_SIGNAL_TWICE, 0, "stopped 130\n"),
        (SECOND_SIGNAL, 130, ""),
        (SWALLOWED_BY_NOTHING, 0, "stopped 143\n"),
        (ENDED_BY_ANOTHER_THREAD, 0, "True\nstopped 143\n"),
        (STOPPED_BEFORE, 0, "stopped 143\n"),
        (COUNTED_BY_THE_WATCHER, 0, "stopped 143\n"),
        (AFTER_A_FORK, 0, "7\n"),
    ],
    ids=[
        *("after the part", "one signal twice", "second signal", "except Exception"),
        *("native code", "before native code", "counted in native code"),
        "native code after a fork",
    ],
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
        with interrupting(stop.is_set):
            check_stop()
    assert signal.getsignal(signal.SIGINT) == before
    check_stop()


def signal_in_a_block(swallowed: bool, steps: list[str]) -> None:
    with install_stop_handler(), stop_at_once():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Stopped:
            if not swallowed:
                raise
        steps.append("went on")


@pytest.mark.parametrize(("swallowed", "expected"), [(False, []), (True, ["went on"])])
def test_a_block_may_be_left_at_once_and_a_swallowed_signal_is_not_lost(
    swallowed: bool, expected: list[str]
) -> None:
    steps: list[str] = []
    with pytest.raises(Stopped):
        signal_in_a_block(swallowed, steps)
    assert steps == expected


def test_without_a_handler_a_block_is_left_as_usual() -> None:
    with stop_at_once():
        check_stop()
