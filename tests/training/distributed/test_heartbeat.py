"""Processes that prepare a training: each learns within the time-out who is gone, and why."""

import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from torch._C._distributed_c10d import Store, TCPStore

from tests.processes import ROOT, Process, start

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals")]

TIMEOUT = 4.0

SCRIPT = """
import sys, time
from wgan.cli import main
from wgan.errors import UsageError, WganError
from wgan.training.distributed.process_group import join

def decode(seconds):
    print("here", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass  # never lets go of the interpreter by itself

try:
    with join({timeout}) as group:
        what = sys.argv[1]
        if what == "decodes":
            group.local_main_first("decode", lambda: decode(1000))
        if what == "decodes slowly":
            group.local_main_first("decode", lambda: decode(1.1 * {timeout}))
        if what == "fails":
            raise UsageError("this is not allowed")
        if what == "waits":
            print("here", flush=True)
        group.connect(group.device("cpu"))
        print("training", flush=True)
        while what == "trains":
            group.any(False)
except WganError as exc:
    sys.exit(f"Error: {{exc}}")
"""


class Launcher:
    """Starts processes by hand, each of which would outlive the others."""

    def __init__(self, store: Store | None, port: int) -> None:
        self._store, self._port = store, port
        self.started: list[Process] = []

    def start(self, *tasks: str, timeout: float = TIMEOUT) -> list[Process]:
        """A process for each task, in the order of their ranks."""
        for rank, task in enumerate(tasks):
            place = {
                "RANK": rank, "LOCAL_RANK": 0, "GROUP_RANK": rank, "WORLD_SIZE": len(tasks),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._port,
                "TORCHELASTIC_USE_AGENT_STORE": self._store is not None,
                "TORCHELASTIC_RESTART_COUNT": rank, "GLOO_SOCKET_IFNAME": "lo",
            }  # fmt: skip
            command = [sys.executable, "-c", SCRIPT.format(timeout=timeout), task]
            variables = {name: str(value) for name, value in place.items()}
            self.started.append(start(command, ROOT, **variables))
        return self.started


@pytest.fixture
def agent() -> Iterator[Launcher]:
    """A launcher that keeps the store itself, as torchrun does."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    launcher = Launcher(store, store.port)
    yield launcher
    end(launcher)


@pytest.fixture
def bare() -> Iterator[Launcher]:
    """A launcher that has rank 0 keep the store."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launcher = Launcher(None, port)
    yield launcher
    end(launcher)


def end(launcher: Launcher) -> None:
    for process in launcher.started:
        with process:
            process.kill()


def wait_for(process: Process, word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line == f"{word}\n":
            return
    raise AssertionError(process.communicate())


def told(process: Process, within: float) -> str:
    """What a process says that has to end with a sentence in so many seconds."""
    _, err = process.communicate(timeout=within)
    assert process.returncode == 1, err
    # PyTorch may log before and after.
    (sentence,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "Traceback (most recent call last)" not in err
    return sentence


def test_who_waits_and_who_works_learn_in_time_that_one_is_killed(agent: Launcher) -> None:
    waiting, lost, working = agent.start("waits", "decodes", "decodes")
    for process in agent.started:
        wait_for(process, "here")
    lost.kill()
    begin = time.monotonic()
    for process in (waiting, working):
        sentence = told(process, within=5 * TIMEOUT)
        assert sentence.startswith("Error: another process of this training (RANK 1) was killed")
        assert f"the --dist-timeout of {TIMEOUT:g} s" in sentence
    assert time.monotonic() - begin < 2.5 * TIMEOUT  # and what a busy machine takes to end them


def test_the_loss_of_the_leader_is_told_as_well(agent: Launcher) -> None:
    leader, *others = agent.start("decodes", "waits", "decodes")
    for process in agent.started:
        wait_for(process, "here")
    leader.kill()
    for process in others:
        assert "(RANK 0) was killed" in told(process, within=5 * TIMEOUT)


def test_a_store_that_is_gone_is_told_at_once(bare: Launcher) -> None:
    leader, waiting = bare.start("decodes", "waits", timeout=2.5 * TIMEOUT)
    for process in bare.started:
        wait_for(process, "here")
    leader.kill()
    # What says so after a time-out without a sign names the rank.
    assert "another process of this training was killed" in told(waiting, within=5 * TIMEOUT)


@pytest.mark.parametrize(("task", "word"), [("waits", "here"), ("trains", "training")])
def test_a_store_that_answers_no_more_is_not_waited_for(
    bare: Launcher, task: str, word: str
) -> None:
    leader, other = bare.start("decodes" if task == "waits" else "trains", task)
    for process in bare.started:
        wait_for(process, "here" if task == "waits" else word)
    leader.send_signal(signal.SIGSTOP)  # its machine is gone: no connection is closed
    assert "another process of this training" in told(other, within=10 * TIMEOUT)


def test_one_that_works_long_is_not_taken_for_lost(agent: Launcher) -> None:
    # With patience for a machine whose cores others take.
    for process in agent.start("decodes slowly", "waits", timeout=2.5 * TIMEOUT):
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err


def test_who_works_while_another_fails_learns_that_it_has_said_why(agent: Launcher) -> None:
    working, failing = agent.start("decodes", "fails")
    assert told(failing, within=60) == "Error: this is not allowed"
    assert told(working, within=5 * TIMEOUT) == (
        "Error: another process of this training stopped; it has said why"
    )
