"""The command `wgan` as a process of its own, from this checkout."""

import os
import subprocess
import sys
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
