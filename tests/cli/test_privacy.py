"""Nothing is sent anywhere, and no package leaves files in the user's home folder."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, wgan_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace and name spaces of Linux")


def can_run(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def test_export_verify_and_sample_look_nothing_up_and_leave_no_file_of_others(
    tmp_path: Path,
) -> None:
    home, work, trace = tmp_path / "home", tmp_path / "work", tmp_path / "trace"
    home.mkdir()
    work.mkdir()
    trained_checkpoint().save(work / "checkpoint.pt")
    prefix: list[str] = []
    if can_run("unshare", "-n"):  # without a network, whatever asks for one fails
        prefix = ["unshare", "-n"]
    traced = can_run("strace", "-f", "-e", "trace=connect", "-o", "/dev/null")
    if traced:
        prefix += ["strace", "-f", "-qq", "-A", "-e", "trace=connect", "-o", str(trace)]
    # Nothing of this process's environment: a variable such as CI turns telemetry off elsewhere.
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    for arguments in (
        ("export", "checkpoint.pt", "-o", "g.onnx"),
        ("verify", "g.onnx"),
        ("sample", "--model", "g.onnx", "-n", 4, "out.png"),
    ):
        command = [*prefix, *wgan_command(*arguments)]
        done = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []
    if traced:
        assert "AF_INET" not in trace.read_text()
