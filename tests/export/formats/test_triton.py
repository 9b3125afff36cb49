"""Model repositories for NVIDIA Triton."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import RunWgan, run, wgan_command
from wgan.model_file.reading import describe
from wgan.runtime import Generator

PARSE = """
import sys
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(sys.stdin.read(), model_config_pb2.ModelConfig())
print(config.name, config.backend, config.max_batch_size)
for entry in (*config.input, *config.output):
    print(entry.name, model_config_pb2.DataType.Name(entry.data_type), *entry.dims)
print(config.HasField("dynamic_batching"), config.dynamic_batching.max_queue_delay_microseconds)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("triton")
    trained_checkpoint().save(tmp_path / "checkpoint.pt")
    done = run(
        wgan_command("export", "checkpoint.pt", "--format", "triton", "-o", "models"), tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert str(Path("models/generator/4/model.onnx")) in done.stdout
    return tmp_path / "models"


def test_a_repository_holds_a_proved_model_and_its_configuration(repository: Path) -> None:
    files = [path.relative_to(repository).as_posix() for path in repository.rglob("*.*")]
    assert sorted(files) == ["generator/4/model.onnx", "generator/config.pbtxt"]
    model = repository / "generator" / "4" / "model.onnx"
    assert describe(model).manifest is not None
    assert Generator(model).sample([1]).shape == (1, 32, 32, 3)


def test_tritons_own_schema_reads_the_configuration(repository: Path) -> None:
    python = os.environ.get("WGAN_CLIENTS_PYTHON", sys.executable)
    probe = [python, "-c", "from tritonclient.grpc import model_config_pb2"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        assert "WGAN_CLIENTS_PYTHON" not in os.environ
        pytest.skip("tritonclient[grpc] is not installed: set WGAN_CLIENTS_PYTHON")
    done = subprocess.run(
        [python, "-c", PARSE],
        input=(repository / "generator" / "config.pbtxt").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "generator onnxruntime 64",
        "latents TYPE_FP32 16",
        "images TYPE_FP32 3 32 32",
        "pixels TYPE_UINT8 32 32 3",
        "True 4000",
    ]


def test_a_refused_export_leaves_no_configuration(run_wgan: RunWgan, tmp_path: Path) -> None:
    trained_checkpoint().save(tmp_path / "checkpoint.pt")
    done = run_wgan(
        *("export", "checkpoint.pt", "--format", "triton", "-o", "models"),
        *("--tolerance-psnr", 999),
    )
    assert done.returncode == 1, done.stdout
    assert not list((tmp_path / "models").rglob("*.*"))
