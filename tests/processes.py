"""The command `wgan` as a process of its own, from this checkout."""

import contextlib
import ctypes
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, Self

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


PRELOADED = (
    *("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "scipy.linalg", "networkx"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.JpegImagePlugin"),
    *("wgan.cli.train", "wgan.training.setup", "wgan.training.trainer", "wgan.runtime.generator"),
    *("wgan.cli.export", "wgan.export", "wgan.export.formats.onnx", "wgan.evaluation.evaluator"),
    *("torch.export._trace", "torch.export.pt2_archive", "torch.onnx._internal.exporter._compat"),
    *("torch.onnx._internal.exporter._torchlib.ops", "onnxscript.function_libs.torch_lib.ops"),
    *("torch._inductor.codecache", "tests.exporter_table"),
)
"""Modules that take seconds to import."""

TIMEOUT_S = 240


def run_wgan_command(
    *arguments: object, cwd: Path, before: Callable[[], object] | None = None
) -> Finished:
    """Run `wgan` to its end: see `run_module`."""
    return run_module("wgan", *arguments, cwd=cwd, before=before)


def run_module(
    module: str, *arguments: object, cwd: Path, before: Callable[[], object] | None = None
) -> Finished:
    """Run `python -m module` to its end, in a process forked from one that has imported PyTorch.

    What depends on a start from nothing (which modules are loaded, variables that PyTorch reads
    when it is imported) needs `run(wgan_command(...))`. So does every command where there is no
    fork. `before`, which can be pickled, runs in that process before the module.
    """
    return _run_forked(["-m", module, *map(str, arguments)], cwd, before)


def run_code(code: str, *arguments: object, cwd: Path) -> Finished:
    """Run `python -c code` to its end, as `run_module`."""
    return _run_forked(["-c", code, *map(str, arguments)], cwd, None)


def can_fork() -> bool:
    return "forkserver" in multiprocessing.get_all_start_methods()


def _run_forked(words: list[str], cwd: Path, before: Callable[[], object] | None) -> Finished:
    if not can_fork():
        assert before is None, "there is no fork here"
        return run([sys.executable, *words], cwd)
    with Forked(words, cwd, before=before) as process:
        return process.finish(TIMEOUT_S)


class Forked:
    """`python` with arguments, in a process forked from one that has imported PyTorch.

    It is killed at the end of a `with`.
    """

    def __init__(
        self,
        words: list[str],
        cwd: Path,
        variables: Mapping[str, str] = MappingProxyType({}),
        before: Callable[[], object] | None = None,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self.command = [sys.executable, *words]
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        job = (words, cwd, {**environment(), **variables}, *self._streams, before)
        self._process = context.Process(target=_run_in_a_fork, args=job)
        with contextlib.chdir(ROOT):  # the server of forks, once started, finds wgan and tests
            self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.join()
        self._process.close()
        self._folder.cleanup()

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self._texts()[0]

    def finish(self, timeout: float) -> Finished:
        """Wait for its end. Raises TimeoutExpired."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            raise subprocess.TimeoutExpired(self.command, timeout, *self._texts())
        return Finished(self.command, status, *self._texts())

    def _texts(self) -> list[str]:
        return [path.read_text() if path.exists() else "" for path in self._streams]


def _run_in_a_fork(
    words: list[str],
    cwd: Path,
    variables: dict[str, str],
    output: Path,
    errors: Path,
    before: Callable[[], object] | None,
) -> None:
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    for number, path in ((1, output), (2, errors)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(descriptor, number)
        os.close(descriptor)
    option, what, *arguments = words
    sys.argv = [what if option == "-m" else option, *arguments]
    sys.path.insert(0, str(cwd))  # as Python does
    if before is not None:
        before()
    if option == "-m":
        runpy.run_module(what, run_name="__main__")
    else:
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(what, vars(main))


def keep_capabilities(bits: int) -> None:
    """Give up all of root's powers besides these (capabilities(7)), on Linux."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)
    assert ctypes.CDLL(None).capset(header, data) == 0


def obey_permissions() -> None:
    """Be refused what a file's mode refuses, which root is not."""
    if os.geteuid() == 0:
        keep_capabilities(0)


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
