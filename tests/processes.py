"""The command `wgan` as a process of its own, from this checkout."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]

Finished = subprocess.CompletedProcess[str]
Process = subprocess.Popen[str]


class RunWgan(Protocol):
    """The fixture `run_wgan`."""

    def __call__(self, *arguments: object, cwd: Path = ...) -> Finished: ...


def wgan_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "wgan", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run(command: list[str], cwd: Path) -> Finished:
    """Run a command to its end."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


STARTED: list[Process] = []


def start(command: list[str], cwd: Path, **variables: str) -> Process:
    """Start a command that the fixture `nothing_is_left_running` stops if its test does not."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment(), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, on Linux."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended, on Linux."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            children += map(int, path.read_text().split())
    return children


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
