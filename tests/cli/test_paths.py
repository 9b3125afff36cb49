"""Every path that a command is given may be out of reach, impossible, or of another kind."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import Finished, obey_permissions, run_wgan_command
from wgan.runs import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rights of Linux")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run, and with what cannot be read."""
    folder = tmp_path_factory.mktemp("paths")
    run = Run(folder / "runs" / "first")
    run.make()
    trained_checkpoint(steps=1).save(run.checkpoint(1))
    run.config.write_text("{}")
    (folder / "runs" / "latest").write_text("first\n")
    for name in ("unreadable", "closed/file"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    (folder / "unreadable").chmod(0)
    (folder / "closed").chmod(0)
    yield folder
    (folder / "closed").chmod(0o700)  # so that pytest can remove it


def wgan(folder: Path, *arguments: object) -> Finished:
    return run_wgan_command(*arguments, cwd=folder, before=obey_permissions)


PATHS = ("unreadable", "closed/file", "closed", "x" * 300, "x/" * 3000, "loop", "pipe")

INPUTS = (
    ("info",),
    ("verify",),
    ("export",),
    ("eval",),
    ("export", "--config"),
    ("eval", "--features"),
    ("eval", "--weights"),
)

OUTPUTS = (
    ("export", "runs/first", "-o"),
    ("export", "runs/first", "--format", "triton", "-o"),
    ("eval", "runs/first", "--neighbours"),
)


@pytest.mark.parametrize("arguments", [*INPUTS, *OUTPUTS], ids=" ".join)
def test_a_path_that_cannot_be_used_is_a_sentence(folder: Path, arguments: tuple[str, ...]) -> None:
    before = sorted(folder.rglob("*"))
    # A file that may not be read may be replaced.
    paths = PATHS if arguments in INPUTS else PATHS[1:]
    for path in (*paths, os.fsdecode(b"gone/latin\xe9")):
        done = wgan(folder, *arguments, path)
        assert done.returncode in (1, 2), done.stderr
        assert "Error: " in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_an_export_elsewhere_needs_no_writable_working_folder(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "read-only"
    place.mkdir(0o500)
    done = run_wgan_command(
        *("export", folder / "runs" / "first", "-o", tmp_path / "g.onnx"),
        cwd=place,
        before=obey_permissions,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "g.onnx").is_file()
    assert "later commands need the path" in done.stderr


def test_a_name_that_is_not_utf8_is_exported_described_and_verified(
    folder: Path, tmp_path: Path
) -> None:
    name = os.fsdecode(b"latin\xe9.onnx")
    arguments = ("export", folder / "runs" / "first", "-o", name)
    for command in (arguments, ("info", name), ("verify", name), ("verify", "--json", name)):
        done = run_wgan_command(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert r"latin\udce9.onnx" in done.stdout or command[0] == "verify"
    assert (tmp_path / name).is_file()
    assert run_wgan_command("info", cwd=tmp_path).returncode == 0
