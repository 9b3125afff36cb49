"""How commands end: signals, crashes of native code, too little memory or disk."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from tests.checkpoints import trained_checkpoint
from tests.evaluation.networks import network, save
from tests.processes import (
    Process,
    RunWgan,
    children_of,
    cpu_seconds,
    environment,
    run,
    run_wgan_command,
    wait_until,
    wgan_command,
)
from tests.runtime import models
from wgan.sandbox import GRACE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc of Linux")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


@contextlib.contextmanager
def start(cwd: Path, *arguments: object) -> Iterator[Process]:
    """Start `wgan sample` with more images than it has time for."""
    with start_command(cwd, "sample", "--model", "model.onnx", "-n", 10**7, *arguments) as process:
        yield process


@contextlib.contextmanager
def start_command(cwd: Path, *arguments: object) -> Iterator[Process]:
    """Start a command; it is killed at the end of the block if it has not ended."""
    with subprocess.Popen(
        wgan_command(*arguments),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def child_of(process: Process) -> int:
    wait_until(lambda: children_of(process.pid) != [])
    (child,) = children_of(process.pid)
    return child


def images(folder: Path) -> list[Path]:
    return list(folder.glob("*.png")) if folder.is_dir() else []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_after_a_signal_files_are_whole_and_the_same_command_resumes(
    model: Path, tmp_path: Path, number: int, status: int
) -> None:
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > 100)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == status
    assert said == "stopped; the same command resumes\n"
    for path in images(tmp_path / "out"):
        with Image.open(path) as image:
            assert np.asarray(image).shape == (8, 8, 3)
    assert not list((tmp_path / "out").glob("*.partial"))
    begun = len(images(tmp_path / "out"))
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > begun)
    with start(tmp_path, "out/", "--scale", 2) as process:
        _, said = process.communicate(timeout=30)
    assert "out was started with scale 1, now it is 2" in said


def stop_while_writing(child: int, folder: Path) -> None:
    """Stop a process for good at a moment when it has an unfinished file."""

    def is_stopped() -> bool:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def is_writing() -> bool:
        os.kill(child, signal.SIGSTOP)
        wait_until(is_stopped)
        if any(folder.glob(".*.partial")):
            return True
        os.kill(child, signal.SIGCONT)
        return False

    wait_until(is_writing)


def test_after_a_kill_the_same_command_removes_unfinished_files(
    model: Path, tmp_path: Path, run_wgan: RunWgan
) -> None:
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > 10)
        child = child_of(process)
        stop_while_writing(child, tmp_path / "out")
        process.kill()
        wait_until(lambda: not Path(f"/proc/{child}").exists())
    assert list((tmp_path / "out").glob(".*.partial"))
    done = run_wgan("sample", "--model", "model.onnx", "-n", 10, "out/")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "out").glob(".*.partial"))


def test_a_stopped_tar_is_resumed(model: Path, tmp_path: Path, run_wgan: RunWgan) -> None:
    unfinished = tmp_path / ".out.tar.partial"
    with start(tmp_path, "out.tar") as process:
        wait_until(lambda: unfinished.exists() and unfinished.stat().st_size > 10**5)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (tmp_path / "out.tar").exists()
    begun = unfinished.stat().st_size // 1024  # a header and an image of at most a block each
    done = run_wgan("sample", "--model", "model.onnx", "-n", begun + 10, "out.tar")
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "out.tar") as archive:
        assert len(archive.getnames()) == begun + 10


def test_a_signal_before_an_array_is_complete_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with start(tmp_path, "out.npy") as process:
        wait_until(lambda: any(tmp_path.glob(".out.npy.*")))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (143, "stopped; nothing was written\n")
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.parametrize(
    ("number", "seconds"), [(signal.SIGTERM, 0.05), (signal.SIGINT, 1.5)], ids=["start", "later"]
)
def test_a_stopped_export_leaves_no_file(
    tmp_path: Path, number: signal.Signals, seconds: float
) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    trained_checkpoint().save(checkpoint)
    with start_command(tmp_path, "export", checkpoint) as process:
        child = child_of(process)
        wait_until(lambda: cpu_seconds(child) > seconds)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + number, "stopped; nothing was written\n")
    assert list(tmp_path.iterdir()) == [checkpoint]


@pytest.mark.parametrize(
    "arguments",
    [("sample", "--model", "endless.onnx", "out.png"), ("verify", "endless.onnx"),
     ("sample", "--model", "endless.onnx", "-n", 1000, "out.npy")],
    ids=["sample", "verify", "in another thread"],
)  # fmt: skip
def test_a_model_that_never_ends_stops_at_the_first_signal(
    tmp_path: Path, arguments: tuple[object, ...]
) -> None:
    (tmp_path / "endless.onnx").write_bytes(models.sealed(models.endless()))
    with start_command(tmp_path, *arguments) as process:
        child = child_of(process)
        wait_until(lambda: cpu_seconds(child) > 1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=GRACE_S / 2)  # then it would be killed
    assert process.returncode == 130
    assert said.startswith("stopped")


def note_process(path: Path) -> None:
    path.write_text(str(os.getpid()))


def test_a_generator_that_never_ends_stops_its_evaluation_at_the_first_signal(
    tmp_path: Path,
) -> None:
    (tmp_path / "endless.onnx").write_bytes(models.sealed(models.endless()))
    save(network(onnx.TensorProto.UINT8, ("n", 8, 8, 3)), tmp_path / "features.onnx")
    (tmp_path / "data").mkdir()
    for index in range(12):
        Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "data" / f"{index}.png")
    words = ("eval", "endless.onnx", "--features", "features.onnx", "--data", "data", "-n", 12)
    noted = tmp_path / "process"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_wgan_command, *words, cwd=tmp_path, before=partial(note_process, noted)
        )
        wait_until(lambda: noted.exists() and noted.read_text() != "")
        process = int(noted.read_text())
        wait_until(lambda: children_of(process) != [])
        (child,) = children_of(process)
        wait_until(lambda: running.done() or cpu_seconds(child) > 2)
        os.kill(process, signal.SIGINT)
        done = running.result(GRACE_S / 2)  # then it would be killed
    assert (done.returncode, done.stderr) == (130, "stopped\n")


STOPPED_BEFORE = """
import os, signal, sys
from wgan.__main__ import main

class SendSignal:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.{signal})

sys.meta_path.insert(0, SendSignal())
main()
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("module", ["wgan.cli", "wgan.cli.export"])
def test_a_signal_while_a_command_is_imported_ends_it(
    tmp_path: Path, module: str, name: str, status: int
) -> None:
    # As a background job of a script, the tests themselves ignore SIGINT.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += STOPPED_BEFORE.format(module=module, signal=name)
    done = run([sys.executable, "-c", code, "export"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "stopped\n")


def test_an_ignored_signal_stays_ignored_until_a_command_handles_it(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    code += STOPPED_BEFORE.format(module="wgan.cli.completion", signal="SIGINT")
    done = run([sys.executable, "-c", code, "completion", "bash"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stopped_prepare_leaves_no_shard(tmp_path: Path) -> None:
    with start_command(tmp_path, "prepare", "glyphs", "shards") as process:
        wait_until(lambda: any(tmp_path.iterdir()))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "stopped\n")
    assert list(tmp_path.iterdir()) == []


STOPPED_EARLY = """
import os, signal, time
from wgan.cli import main

def signal_parent():  # when the child has done nothing yet
    os.kill(os.getppid(), signal.SIGINT)
    time.sleep(0.2)

os.register_at_fork(after_in_child=signal_parent)
main()
"""


def test_a_signal_while_the_child_starts_stops_the_command(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED_EARLY, "verify", str(model)]
    done = run(command, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


STOPPED_LATE = """
import atexit, builtins, os, signal, time
from wgan.cli import main

class SlowToEnd:
    def __del__(self):
        time.sleep(0.3)

def send_signal():
    os.kill(os.{receiver}(), signal.SIGTERM)
    time.sleep(0.1)

builtins.at_the_end = SlowToEnd()
atexit.register(send_signal)
main()
"""


@pytest.mark.parametrize("receiver", ["getpid", "getppid"])
def test_a_signal_after_the_work_changes_nothing(
    model: Path, tmp_path: Path, receiver: str
) -> None:
    command = [
        sys.executable,
        "-c",
        STOPPED_LATE.format(receiver=receiver),
        "info",
        "--device",
        "cpu",
    ]
    done = run([*command, str(model)], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CPUExecutionProvider" in done.stdout


def test_a_command_that_inherits_an_ignored_sigchld_ends(model: Path, tmp_path: Path) -> None:
    def ignore_sigchld() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    command = wgan_command("sample", "--model", model, "-n", 4, "out.png")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        preexec_fn=ignore_sigchld,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"wrote 4 images to out.png\n")
    assert (tmp_path / "out.png").exists()


def test_a_crash_of_native_code_ends_in_a_sentence(model: Path, tmp_path: Path) -> None:
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > 10)
        os.kill(child_of(process), signal.SIGSEGV)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith("Error: ONNX Runtime crashed (SIGSEGV), most likely on a model file")


@pytest.mark.parametrize(
    ("command", "engine"),
    [
        (["verify"], "ONNX Runtime"),
        (["info", "--device", "cpu"], "ONNX Runtime"),
        (["bench"], "ONNX Runtime"),
        (["eval", "--features"], "PyTorch or ONNX Runtime"),
    ],
)
def test_a_crash_while_a_model_is_opened_ends_in_a_sentence(
    tmp_path: Path, command: list[str], engine: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.slow_to_open())
    with start_command(tmp_path, *command, path) as process:
        wait_until(lambda: cpu_seconds(child_of(process)) > 1)
        os.kill(child_of(process), signal.SIGSEGV)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith(f"Error: {engine} crashed (SIGSEGV)")


def test_a_child_that_the_system_kills_ends_in_a_sentence(model: Path, tmp_path: Path) -> None:
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > 10)
        os.kill(child_of(process), signal.SIGKILL)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "lack of memory" in said


def test_the_child_does_not_outlive_its_parent(model: Path, tmp_path: Path) -> None:
    with start(tmp_path, "out/") as process:
        wait_until(lambda: len(images(tmp_path / "out")) > 10)
        child = child_of(process)
        process.kill()
        wait_until(lambda: not Path(f"/proc/{child}").exists())


def test_a_second_signal_ends_a_native_call_that_never_returns(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(models.slow_to_open())
    with start(tmp_path, "out/") as process:
        wait_until(lambda: cpu_seconds(child_of(process)) > 2)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):  # opening the model takes minutes
            process.wait(1.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130
    assert images(tmp_path / "out") == []


def test_a_command_that_does_not_stop_is_killed_after_a_grace_time(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(models.slow_to_open())
    with start(tmp_path, "out/") as process:
        wait_until(lambda: cpu_seconds(child_of(process)) > 2)
        child = child_of(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(GRACE_S + 10) == 143
    assert not Path(f"/proc/{child}").exists()


def limited(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, size))


@pytest.mark.parametrize("name", ["out.npy", "out.tar", "out.zip"])
def test_a_full_disk_ends_in_a_sentence(model: Path, tmp_path: Path, name: str) -> None:
    """A limit on a file's size fails in the write, as a full disk does."""
    done = subprocess.run(
        wgan_command("sample", "--model", "model.onnx", "-n", 5000, name),
        cwd=tmp_path,
        env=environment(),
        preexec_fn=limited(resource.RLIMIT_FSIZE, 200_000),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert f"cannot write {name}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / name).exists()


def test_a_graph_that_needs_more_memory_than_there_is_ends_in_a_sentence(tmp_path: Path) -> None:
    model = models.generator()
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([1, 3, 2**16, 2**16], np.int64), "huge")
    )
    model.graph.node[4].CopyFrom(helper.make_node("Expand", ["raw", "huge"], ["images"]))
    (tmp_path / "model.onnx").write_bytes(models.sealed(model))
    done = subprocess.run(
        wgan_command("sample", "--model", "model.onnx", "-n", 1, "out.png"),
        cwd=tmp_path,
        env=environment(),
        preexec_fn=limited(resource.RLIMIT_AS, 4 * 2**30),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: model.onnx cannot be used: ONNX Runtime cannot")
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_named(model: Path, run_wgan: RunWgan) -> None:
    for out in ("/sys/out.png", "/sys/out/", "/sys/out.tar"):
        done = run_wgan("sample", "--model", "model.onnx", "-n", 1, out)
        assert done.returncode == 1
        assert "Error: cannot " in done.stderr
        assert "Traceback" not in done.stderr


PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("name", ["out/", "out.tar"])
def test_memory_does_not_grow_with_the_number_of_images(
    model: Path, tmp_path: Path, name: str
) -> None:
    def peak(n: int) -> int:
        command = wgan_command("sample", "--model", "model.onnx", "-n", n, "--overwrite", name)
        done = run([sys.executable, "-c", PEAK, *command], tmp_path)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)  # MiB

    few = peak(1000)
    assert peak(4000) < few + 8


CLOSED = """
import os, subprocess, sys
from wgan.cli.process import open_closed_streams
open_closed_streams()
code = "import sys; sys.exit(sum(s is None for s in (sys.stdin, sys.stdout, sys.stderr)))"
print("\\udcff", file=sys.stderr)  # as in a path that is not UTF-8
os._exit(subprocess.run([sys.executable, "-c", code]).returncode)
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_open_in_this_process_and_its_children(closed: str) -> None:
    shell = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, CLOSED]
    assert subprocess.run(shell, env=environment(), timeout=60).returncode == 0
