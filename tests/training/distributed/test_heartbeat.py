"""Each rank learns within the timeout that another one is gone, while it decodes or trains."""

import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from torch._C._distributed_c10d import Store, TCPStore

from tests.processes import ROOT, Forked, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals")]

TIMEOUT = 4.0

FAILED = "Error: another rank of this training stopped with an error: see the message of that rank"

SCRIPT = """
import contextlib, io, sys, time
from wgan.cli import main
from wgan.errors import UsageError, WganError
from wgan.training.distributed.process_group import join

def decode(seconds):
    print("ready", flush=True)
    end = time.monotonic() + seconds
    with contextlib.redirect_stderr(io.StringIO()):  # as on all ranks except the main one
        while time.monotonic() < end:
            pass  # holds the GIL

task = sys.argv[1]
try:
    with join({timeout}) as group:
        if task == "decodes":
            group.local_main_first("decode", lambda: decode(1000))
        if task == "decodes slowly":
            group.local_main_first("decode", lambda: decode(1.1 * {timeout}))
        if task == "fails":
            raise UsageError("this is not allowed")
        if task == "crashes":
            raise ZeroDivisionError
        if task == "waits":
            print("ready", flush=True)
        group.connect(group.device("cpu"))
        group.any(False)  # one that ended now would close the connections that others still make
        print("training", flush=True)
        if task == "saves last" and group.is_main:
            time.sleep(1.5 * {timeout})
        while task == "trains":
            group.any(False)
except WganError as exc:
    sys.exit(f"Error: {{exc}}")
"""


class Launcher:
    """Starts one process per rank. Unlike torchrun it does not end them when one of them ends."""

    def __init__(self, store: Store | None, port: int) -> None:
        self._store, self._port = store, port
        self.started: list[Forked] = []

    def start(self, *tasks: str, timeout: float = TIMEOUT) -> list[Forked]:
        """Start a rank for each task, in order."""
        for rank, task in enumerate(tasks):
            variables = {
                "RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": len(tasks),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._port,
                "TORCHELASTIC_USE_AGENT_STORE": self._store is not None,
                "TORCHELASTIC_RESTART_COUNT": rank, "GLOO_SOCKET_IFNAME": "lo",
            }  # fmt: skip
            words = ["-c", SCRIPT.format(timeout=timeout), task]
            strings = {name: str(value) for name, value in variables.items()}
            self.started.append(Forked(words, ROOT, strings))
        return self.started


@pytest.fixture
def agent() -> Iterator[Launcher]:
    """Return a launcher that hosts the store itself, as torchrun does."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launcher = Launcher(store, store.port)
    yield launcher
    end(launcher)


@pytest.fixture
def bare() -> Iterator[Launcher]:
    """Return a launcher that has rank 0 host the store."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = Launcher(None, port)
    yield launcher
    end(launcher)


def end(launcher: Launcher) -> None:
    for process in launcher.started:
        with process:
            pass


def wait_for(process: Forked, word: str) -> None:
    def has_written() -> bool:
        is_running = process.is_running
        is_there = word in process.output.splitlines()
        assert is_there or is_running, process.finish(0)
        return is_there

    wait_until(has_written, 60)


def error_of(process: Forked, within: float) -> str:
    """Return the error message with which a process ends in time."""
    ended = process.finish(within)
    assert ended.returncode == 1, ended.stderr
    # PyTorch may log before and after.
    (message,) = [line for line in ended.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback (most recent call last)" not in ended.stderr
    return message


def test_waiting_and_decoding_ranks_name_a_killed_rank_in_time(agent: Launcher) -> None:
    waiting, lost, decoding = agent.start("waits", "decodes", "decodes")
    for process in agent.started:
        wait_for(process, "ready")
    lost.kill()
    begin = time.monotonic()
    for process in (waiting, decoding):
        message = error_of(process, within=5 * TIMEOUT)
        assert message.startswith("Error: rank 1 of this training was killed")
        assert f"the --dist-timeout of {TIMEOUT:g} s" in message
    assert time.monotonic() - begin < 2.5 * TIMEOUT  # a busy machine takes a while to end them


def test_a_killed_main_process_is_named(agent: Launcher) -> None:
    main, *others = agent.start("decodes", "waits", "decodes")
    for process in agent.started:
        wait_for(process, "ready")
    main.kill()
    for process in others:
        assert "Error: rank 0 of this training was killed" in error_of(process, within=5 * TIMEOUT)


def test_a_rank_that_waits_notices_at_once_that_the_store_is_gone(bare: Launcher) -> None:
    main, waiting = bare.start("decodes", "waits", timeout=2.5 * TIMEOUT)
    for process in bare.started:
        wait_for(process, "ready")
    main.kill()
    # A heartbeat that is missing until the timeout would name the rank.
    assert "another rank of this training was killed" in error_of(waiting, within=5 * TIMEOUT)


@pytest.mark.parametrize(("task", "word"), [("waits", "ready"), ("trains", "training")])
def test_a_store_that_hangs_ends_the_run_in_time(bare: Launcher, task: str, word: str) -> None:
    main, other = bare.start("decodes" if task == "waits" else "trains", task)
    for process in bare.started:
        wait_for(process, word)
    main.send_signal(signal.SIGSTOP)  # as if its machine were gone: no connection is closed
    assert "of this training was killed" in error_of(other, within=10 * TIMEOUT)


def test_a_rank_that_works_longer_than_the_timeout_is_not_lost(agent: Launcher) -> None:
    # A long timeout, because other work may take the machine's cores.
    for process in agent.start("decodes slowly", "waits", timeout=2.5 * TIMEOUT):
        ended = process.finish(60)
        assert ended.returncode == 0, ended.stderr


def test_a_rank_that_has_finished_is_not_lost(agent: Launcher) -> None:
    for process in agent.start("saves last", "saves last"):
        ended = process.finish(60)
        assert ended.returncode == 0, ended.stderr


def test_a_decoding_rank_learns_that_another_rank_failed(agent: Launcher) -> None:
    decoding, failing = agent.start("decodes", "fails")
    assert error_of(failing, within=60) == "Error: this is not allowed"
    assert error_of(decoding, within=5 * TIMEOUT) == FAILED


def test_a_waiting_rank_learns_that_another_rank_crashed(agent: Launcher) -> None:
    waiting, crashing = agent.start("waits", "crashes", timeout=100)
    assert "ZeroDivisionError" in crashing.finish(60).stderr
    assert error_of(waiting, within=30) == FAILED
