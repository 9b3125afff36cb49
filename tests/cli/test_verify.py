import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, RunWgan, environment
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint

TORCH_FREE = """
import sys
sys.modules.update(dict.fromkeys(["torch", "onnx", "onnxscript"]))  # importing one fails
sys.argv = ["wgan", "verify", sys.argv[1]]
from wgan.cli import main
main()
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An 8-bit export, whose gate is the widest."""
    path = tmp_path_factory.mktemp("export") / "g.onnx"
    export_checkpoint(trained_checkpoint(width=8), ExportConfig(precision="int8"), path)
    return path


def test_an_export_is_verified_without_pytorch_and_onnx(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TORCH_FREE, str(exported)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "golden images: 4 images of PyTorch's" in done.stdout
    assert "FAILED" not in done.stdout


def test_the_first_difference_is_the_error(
    run_wgan: RunWgan, exported: Path, tmp_path: Path
) -> None:
    data = bytearray(exported.read_bytes())
    data[len(data) // 2] ^= 1  # among the weights
    (tmp_path / "changed.onnx").write_bytes(data)
    done = run_wgan("verify", "changed.onnx")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: changed.onnx is not what was proved: checksums")
    assert "FAILED    checksums" in done.stdout


def test_the_checks_are_json_on_request(run_wgan: RunWgan, exported: Path) -> None:
    done = run_wgan("verify", exported, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["passed"] is True
    assert {check["name"] for check in told["checks"]} >= {"checksums", "determinism"}


@pytest.mark.parametrize("kind", ["missing", "truncated", "no model"])
def test_a_file_that_cannot_be_read_is_one_sentence(
    run_wgan: RunWgan, exported: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "g.onnx"
    if kind == "truncated":
        path.write_bytes(exported.read_bytes()[:-1000])
    elif kind == "no model":
        path.write_bytes(b"hello")
    done = run_wgan("verify", path)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
