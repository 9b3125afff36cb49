"""`wgan train` and `wgan prepare` where the system refuses: they manage, or say it in a line."""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import (
    Finished,
    cpu_seconds,
    keep_capabilities,
    obey_permissions,
    run_wgan_command,
    start,
    wait_until,
    wgan_command,
)

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="limits and capabilities of Linux"),
    pytest.mark.usefixtures("nothing_is_left_running"),
]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

TINY = (
    *("--width", 2, "--latent-dim", 4, "--batch-size", 4, "--n-critic", 1),
    *("--device", "cpu", "--no-cache", "--steps", 1),
)

DAC_READ_SEARCH = 1 << 2


def start_no_thread() -> None:
    """Become a user who may have one process; it can still read Python in root's home."""
    ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgid(54321)
    os.setuid(54321)
    keep_capabilities(DAC_READ_SEARCH)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for index in range(6):
        pixels = np.random.RandomState(index).randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def run(cwd: Path, *arguments: object, before: Callable[[], object] = obey_permissions) -> Finished:
    done = run_wgan_command(*arguments, cwd=cwd, before=before)
    assert "Traceback" not in done.stderr
    return done


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("train", "secret/faces", *TINY), "cannot read 'secret/faces': Permission denied"),
        (("train", "secret/*.tar", *TINY), "no file matches 'secret/*.tar'"),
        (("train", "secret/{0..1}.tar", *TINY), "cannot be read: Permission denied"),
        (("train", "faces", *TINY, "--run", "secret/run"), "cannot read secret/run/config.json: P"),
        (("train", "faces", *TINY, "--config", "secret/c"), "cannot read the config file secret/c"),
        (("prepare", "secret/faces", "shards"), "cannot read 'secret/faces': Permission denied"),
        (("prepare", "faces", "secret/shards"), "cannot write secret/shards: Permission denied"),
        (("train", LONG, *TINY), "File name too long"),
        (("train", "faces", *TINY, "--run", LONG), "File name too long"),
        (("train", "faces", *TINY, "--arch", f"{LONG}:f"), "there is no module"),
        (("prepare", "faces", LONG), "File name too long"),
        (("train", "loop", *TINY), "no data loop"),
        (("train", "faces", *TINY, "--run", "loop"), "Too many levels of symbolic links"),
        (("train", "fifo", *TINY), "no data fifo"),
    ],
)
def test_a_path_that_the_system_refuses_ends_in_a_sentence(
    tmp_path: Path, faces: Path, arguments: tuple[object, ...], sentence: str
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    secret.chmod(0)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    done = run(tmp_path, *arguments)
    secret.chmod(0o700)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_an_image_that_cannot_be_read_is_skipped(tmp_path: Path, faces: Path) -> None:
    (faces / "0.png").chmod(0)
    done = run(tmp_path, "train", "faces", *TINY, "--allow-damaged")
    assert done.returncode == 0, done.stderr
    assert "skipped faces/0.png" in done.stderr


def test_a_working_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, faces: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    tmp_path.chmod(0o500)
    done = run(tmp_path, "train", "faces", *TINY, "--run", "elsewhere/run")
    tmp_path.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "Warning: cannot make the folder runs: Permission denied; later commands need the path"
        " elsewhere/run\n"
    )


def test_a_run_whose_checkpoints_cannot_be_read_does_not_start_again(
    tmp_path: Path, faces: Path
) -> None:
    run(tmp_path, "train", "faces", *TINY, "--run", "run")
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    (tmp_path / "run" / "checkpoints").chmod(0)
    done = run(tmp_path, "train", "--run", "run", "--steps", 2)
    (tmp_path / "run" / "checkpoints").chmod(0o700)
    assert "cannot read run/checkpoints: Permission denied" in done.stderr
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_names_that_are_not_utf_8_train_and_are_printed_for_a_shell(
    tmp_path: Path, faces: Path
) -> None:
    name = os.fsdecode(b"f\xe4ces")
    faces.rename(tmp_path / name)
    (tmp_path / name / "0.png").rename(tmp_path / name / os.fsdecode(b"\xff.png"))
    done = run(tmp_path, "train", name, *TINY)
    assert done.returncode == 0, done.stderr
    assert "--run $'runs/f\\xe4ces-32-tuned' --steps 10 " in done.stdout
    dry = run(tmp_path, "train", name, *TINY, "--dry-run")
    (tmp_path / "run.toml").write_text(dry.stdout)
    refused = run(tmp_path, "train", "--config", "run.toml", "--run", "other")
    assert (refused.returncode, (tmp_path / "other").exists()) == (2, False)
    assert "cannot read the config file run.toml" in refused.stderr
    assert run(tmp_path, "prepare", name, os.fsdecode(b"sh\xe4rds")).returncode == 0


@needs_root
@pytest.mark.parametrize("arguments", [("train", "faces", *TINY), ("prepare", "faces", "shards")])
def test_work_is_done_where_no_thread_can_be_started(
    tmp_path: Path, faces: Path, arguments: tuple[object, ...]
) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path(folder.anchor):
            folder.chmod(folder.stat().st_mode | 0o5)
    tmp_path.chmod(0o777)
    done = run(tmp_path, *arguments, before=start_no_thread)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("number", "seconds", "status"),
    [(signal.SIGINT, 1.0, 130), (signal.SIGTERM, 1.0, 143), (signal.SIGTERM, 5.0, 143)],
    ids=["importing", "importing-term", "decoding"],
)
def test_a_signal_ends_the_start_of_a_training(
    tmp_path: Path, number: signal.Signals, seconds: float, status: int
) -> None:
    command = wgan_command("train", "glyphs", "--size", 128, "--no-cache", "--device", "cpu")
    process = start(command, tmp_path)
    wait_until(lambda: cpu_seconds(process.pid) > seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert said.splitlines()[-1] == "stopped"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
