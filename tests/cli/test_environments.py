"""Every command in environments that lack something: it works, or says in a sentence what to do.

Commands run in forks of a process that has imported PyTorch; those of `FRESH` start from nothing,
because what a limit refuses can be an import. Other files hold hostile values and paths.
"""

import ctypes
import functools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from tests.checkpoints import trained_checkpoint
from tests.evaluation.networks import network, save
from tests.processes import (
    Finished,
    environment,
    keep_capabilities,
    obey_permissions,
    run_wgan_command,
    wgan_command,
)
from tests.runtime import models
from tests.runtime.test_verification import proved
from wgan.runs import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and rights of Linux")

Enter = Callable[[], object]

DAC_READ_SEARCH = 1 << 2
"""The power to read any file, capabilities(7): Python may be in root's home."""

SKIPPED = 77
"""Exit status where an environment cannot be made here."""

TINY = (
    *("--width", 2, "--latent-dim", 4, "--batch-size", 4, "--n-critic", 1),
    *("--device", "cpu", "--steps", 1),
)

COMMANDS: dict[str, tuple[object, ...]] = {
    "sample": ("sample", "--model", "IN/good.onnx", "-n", 4, "OUT/grid.png"),
    "bench": ("bench", "IN/good.onnx", "--seconds", 0.01, "--batch-sizes", "1"),
    "info": ("info", "--device", "cpu", "IN/good.onnx"),
    "verify": ("verify", "IN/good.onnx"),
    "export": ("export", "IN/run", "-o", "OUT/new.onnx"),
    "publish": ("publish", "OUT/published", "IN/good.onnx"),
    "eval": (
        *("eval", "IN/run", "--data", "IN/images", "--features", "IN/features.onnx"),
        *("-n", 12, "--metrics", "fid"),
    ),
    "train": ("train", "IN/images", *TINY, "--run", "OUT/run"),
    "prepare": ("prepare", "IN/images", "OUT/shards"),
    "serve": ("serve", "g=IN/good.onnx", "--port", 0),
    "project": (
        *("project", "IN/images/0.png", "--model", "IN/good.onnx", "--evaluations", 9),
        *("-o", "OUT/z.npy"),
    ),
    "directions": ("directions", "OUT/d.npy", "--model", "IN/good.onnx", "-n", 2),
    "cache": ("cache", "list"),
    "completion": ("completion", "bash"),
}

OUTPUTS = {
    "sample": "grid.png",
    "export": "new.onnx",
    "publish": "published/README.md",
    "train": "run/checkpoints/step-00000001.pt",
    "prepare": "shards/shards.json",
    "project": "z.npy",
    "directions": "d.npy",
}

FRESH = ("sample", "info", "verify", "serve", "completion")

each_command = pytest.mark.parametrize("name", COMMANDS)


def fill(folder: Path) -> None:
    """Make the files that the commands read."""
    run = Run(folder / "run")
    run.make()
    trained_checkpoint(data="images", steps=1).save(run.checkpoint(1))
    run.config.write_text("{}")
    (folder / "good.onnx").write_bytes(proved(models.generator()))
    save(network(TensorProto.UINT8, ("n", 32, 32, 3)), folder / "features.onnx")
    (folder / "images").mkdir()
    for index in range(12):
        pixels = np.random.RandomState(index).randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    fill(folder)
    for each in (folder, *folder.parents):  # another user may come here
        if os.geteuid() == 0 and each != Path(each.anchor):
            each.chmod(each.stat().st_mode | 0o5)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A working folder that cannot be written."""
    place = tmp_path / "place"
    tmp_path.chmod(0o755)
    place.mkdir(0o555)
    yield place
    place.chmod(0o700)


def arguments(name: str, inputs: Path, out: Path) -> list[str]:
    out.mkdir(exist_ok=True)
    out.chmod(0o777)  # another user may write here
    words = map(str, COMMANDS[name])
    return [word.replace("IN/", f"{inputs}/").replace("OUT/", f"{out}/") for word in words]


def enter(environments: tuple[Enter, ...], serves: bool) -> None:
    """Enter the environments, one after the other, in the process of the command."""
    if serves:
        stop_when_ready()
    for each in environments:
        each()


def stop_when_ready() -> None:
    """Send SIGTERM to this process once it says that it serves."""
    said = Path("/proc/self/fd/2").open()  # noqa: SIM115 - before any limit, until the end

    def watch() -> None:
        text = ""
        while "ready at" not in text:
            text += said.read()
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def wgan(name: str, words: list[str], cwd: Path, *environments: Enter) -> Finished:
    before = functools.partial(enter, environments, name == "serve")
    done = run_wgan_command(*words, cwd=cwd, before=before)
    if done.returncode == SKIPPED:
        pytest.skip("this environment cannot be made here")
    return done


def wgan_from_nothing(words: list[str], cwd: Path, *environments: Enter) -> Finished:
    """Run a command in a new Python; a server is stopped once it is ready."""
    with subprocess.Popen(
        wgan_command(*words),
        cwd=cwd,
        env=environment(),
        preexec_fn=functools.partial(enter, environments, False),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "ready at" in line:
                process.terminate()
    if process.returncode == SKIPPED:
        pytest.skip("this environment cannot be made here")
    return Finished(words, process.returncode, "", said)


def check_sentence(done: Finished) -> None:
    """The command worked, or ended in a sentence that blames no file."""
    said = f"{done.returncode}: {done.stderr}"
    assert done.returncode in (0, 1, 2), said
    assert "Traceback" not in said, said
    assert "damaged" not in said, said
    assert "Exception" not in said, said
    if done.returncode:
        assert "Error: " in said, said


def check_works(done: Finished, name: str, out: Path) -> None:
    check_sentence(done)
    assert done.returncode == 0, done.stderr
    if name in OUTPUTS:
        assert (out / OUTPUTS[name]).stat().st_size > 0


# Environments in which everything works.


def lose_home() -> None:
    for variable in ("HOME", "USER", "LOGNAME", "WGAN_CACHE", "XDG_CACHE_HOME"):
        os.environ.pop(variable, None)


def become_nobody() -> None:
    """Become a user without a home and a name."""
    if os.geteuid() != 0:
        os._exit(SKIPPED)
    lose_home()
    ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setgid(54321)
    os.setuid(54321)
    keep_capabilities(DAC_READ_SEARCH)


CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def lose_temporary_folders(writable: Path) -> None:
    """Make all folders for temporary files read-only, besides one that is below them."""
    libc = ctypes.CDLL(None)

    def mount(source: str, target: str, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), None, flags, None) != 0:
            os._exit(SKIPPED)

    os.environ["TMPDIR"] = "/gone"
    if libc.unshare(CLONE_NEWNS) != 0:
        os._exit(SKIPPED)
    mount("none", "/", MS_REC | MS_PRIVATE)
    mount(str(writable), str(writable), MS_BIND)
    for folder in ("/tmp", "/var/tmp", "/usr/tmp"):  # those of `tempfile`
        if Path(folder).is_dir() and not Path(folder).is_symlink():
            mount(folder, folder, MS_BIND | MS_REC)
            mount("none", folder, MS_BIND | MS_REMOUNT | MS_RDONLY)


@each_command
def test_a_working_folder_that_cannot_be_written_is_no_obstacle(
    name: str, inputs: Path, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = wgan(name, arguments(name, inputs, out), place, obey_permissions)
    check_works(done, name, out)


@each_command
def test_a_user_without_a_name_and_a_home_is_no_obstacle(
    name: str, inputs: Path, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = wgan(name, arguments(name, inputs, out), place, become_nobody)
    if name == "cache":
        check_sentence(done)
        assert "set WGAN_CACHE to a folder" in done.stderr
    else:
        check_works(done, name, out)


@each_command
def test_missing_folders_for_temporary_files_are_no_obstacle(
    name: str, inputs: Path, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = arguments(name, inputs, out)
    lose = functools.partial(lose_temporary_folders, out)
    done = wgan(name, words, place, lose, obey_permissions)
    check_works(done, name, out)


@pytest.mark.parametrize("name", ["sample", "serve", "train"])
def test_all_of_these_at_once_are_no_obstacle_to_a_new_process(
    name: str, inputs: Path, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = arguments(name, inputs, out)
    lose = functools.partial(lose_temporary_folders, out)
    check_works(wgan_from_nothing(words, place, lose, lose_home), name, out)


@each_command
def test_names_that_are_not_utf8_are_no_obstacle(
    name: str, inputs: Path, place: Path, tmp_path: Path
) -> None:
    latin = tmp_path / os.fsdecode(b"latin\xe9")
    latin.symlink_to(inputs)
    out = tmp_path / os.fsdecode(b"out\xe9")
    check_works(wgan(name, arguments(name, latin, out), place), name, out)


@pytest.mark.parametrize("closed", [(0, 1, 2), (2,)], ids=["all", "standard error"])
def test_closed_standard_streams_are_no_obstacle(
    closed: tuple[int, ...], inputs: Path, tmp_path: Path
) -> None:
    words = arguments("prepare", inputs, tmp_path / "out")
    done = subprocess.run(
        wgan_command(*words),
        env=environment(),
        preexec_fn=functools.partial(close_streams, closed),
        check=False,
    )
    assert done.returncode == 0
    assert (tmp_path / "out" / OUTPUTS["prepare"]).is_file()


def close_streams(numbers: tuple[int, ...]) -> None:
    for number in numbers:
        os.close(number)


# Limits: a command may end in a sentence.


def limit_open_files(more: int) -> None:
    """Let the process open only a few more files."""
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + more, free + more))


def limit(kind: int, size: int) -> None:
    resource.setrlimit(kind, (size, size))


def start_nothing() -> None:
    """Allow no other process or thread. The limit does not hold for root."""
    become_nobody()
    limit(resource.RLIMIT_NPROC, 1)


@each_command
@pytest.mark.parametrize(
    "environment",
    [
        functools.partial(limit_open_files, 1),
        functools.partial(limit_open_files, 4),
        start_nothing,
        functools.partial(limit, resource.RLIMIT_FSIZE, 1000),
    ],
    ids=["1 more file", "4 more files", "no more processes", "small files"],
)
def test_a_limit_ends_in_a_sentence(
    name: str, environment: Enter, inputs: Path, place: Path, tmp_path: Path
) -> None:
    check_sentence(wgan(name, arguments(name, inputs, tmp_path / "out"), place, environment))


@pytest.mark.parametrize("files", [6, 9, 16])
@pytest.mark.parametrize("name", FRESH)
def test_few_open_files_end_in_a_sentence_from_the_start(
    name: str, files: int, inputs: Path, place: Path, tmp_path: Path
) -> None:
    words = arguments(name, inputs, tmp_path / "out")
    few = functools.partial(limit, resource.RLIMIT_NOFILE, files)
    done = wgan_from_nothing(words, place, few)
    check_sentence(done)
    if done.returncode:
        assert "open files" in done.stderr


# Paths that other files do not try.

PATHS = ("unreadable", "closed/file", "closed", "x" * 300, "loop", os.fsdecode(b"gone\xe9"))


@pytest.fixture(scope="module")
def denied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what cannot be used."""
    folder = tmp_path_factory.mktemp("denied")
    for name in ("unreadable", "closed/file"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
        (folder / name).chmod(0)
    (folder / "closed").chmod(0)
    (folder / "loop").symlink_to("loop")
    yield folder
    (folder / "closed").chmod(0o700)


@pytest.mark.parametrize(
    "words",
    [
        *(("sample", "--model"), ("sample", "--config"), ("sample", "--latents")),
        *(("bench",), ("serve", "--port", "0"), ("serve", "IN/good.onnx", "--api-key-file")),
        *(("eval", "IN/run", "--features", "IN/features.onnx", "--data"), ("cache", "list")),
    ],
    ids=" ".join,
)
def test_a_path_that_cannot_be_used_is_a_sentence(
    words: tuple[str, ...], inputs: Path, denied: Path
) -> None:
    for path in PATHS:
        filled = [word.replace("IN/", f"{inputs}/") for word in words]
        hide: Enter = obey_permissions
        if words[0] == "cache":
            hide = functools.partial(use_cache, path)
        else:
            filled.append(path)
        done = wgan("", filled, denied, hide)
        check_sentence(done)
        assert words[0] == "cache" or done.returncode in (1, 2), done.stderr


def use_cache(path: str) -> None:
    os.environ["WGAN_CACHE"] = path
    obey_permissions()
