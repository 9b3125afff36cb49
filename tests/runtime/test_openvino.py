"""OpenVINO in ONNX Runtime, as a plugin and built in, in float32 and bfloat16.

The plugin supports Intel's processors only. WGAN_OPENVINO_PYTHON is an interpreter that has
onnxruntime-openvino, click and pillow, which cannot be installed beside onnxruntime, and
WGAN_PLUGINS_PYTHON one that has wgan's extras cpu, openvino and webgpu.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT
from tests.runtime import models
from tests.runtime.test_verification import proved
from wgan.errors import UsageError
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.runtime import Generator

VARIABLES = {"built in": "WGAN_OPENVINO_PYTHON", "plugin": "WGAN_PLUGINS_PYTHON"}

NO_DEVICE = "finds no device that it supports here"
"""What the plugin says on a processor that is not Intel's."""

DRAW = """
import sys
import numpy
from wgan.runtime import Generator
for compute in ("fp32", "bf16"):
    with Generator(sys.argv[1], "openvino", compute=compute) as generator:
        assert generator.provider == "OpenVINOExecutionProvider"
        numpy.save(f"{compute}.npy", generator.sample(range(64)))
"""


PLUGIN = """
import sys
from wgan.errors import DeviceError
from wgan.runtime import Generator
try:
    print(Generator(sys.argv[1], "openvino").provider)
except DeviceError as exc:
    print(exc)
print(Generator(sys.argv[1]).provider)
"""


@pytest.fixture(params=VARIABLES)
def openvino_python(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An interpreter in which OpenVINO draws."""
    variable = VARIABLES[request.param]
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} does not name a Python that has OpenVINO")
    if request.param == "plugin":
        (tmp_path / "probe.onnx").write_bytes(proved(models.generator()))
        done = verify(python, tmp_path, model="probe.onnx")
        if NO_DEVICE in done.stdout + done.stderr:
            pytest.skip("the plugin supports no processor of this machine")
    return python


def test_bf16_needs_openvino(model_file: Path) -> None:
    with pytest.raises(UsageError, match="--compute bf16 needs --device openvino"):
        Generator(model_file, "cpu", compute="bf16")


def test_the_plugin_draws_or_says_that_it_has_no_device(model_file: Path, tmp_path: Path) -> None:
    variable = VARIABLES["plugin"]
    python = os.environ.get(variable)
    if python is None:
        pytest.skip(f"{variable} does not name a Python that has OpenVINO")
    done = subprocess.run(
        [python, "-c", PLUGIN, str(model_file)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn, afterwards = done.stdout.splitlines()
    assert drawn == "OpenVINOExecutionProvider" or NO_DEVICE in drawn
    # The plugin, once loaded, is not used unless it is named.
    assert afterwards == "CPUExecutionProvider"


def test_openvino_draws_the_same_in_float32_and_nearly_in_bf16(
    model_file: Path, generator: Generator, openvino_python: str, tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [openvino_python, "-c", DRAW, str(model_file)], cwd=tmp_path, env=environment, check=True
    )
    expected = generator.sample(range(64)).astype(int)
    exact, near = (np.load(tmp_path / f"{name}.npy") for name in ("fp32", "bf16"))
    assert np.abs(exact - expected).max() <= 1
    error = np.square(near - expected).mean()
    assert 10 * np.log10(255**2 / error) >= 40


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_verify_knows_openvino(openvino_python: str, tmp_path: Path, compute: str) -> None:
    (tmp_path / "g.onnx").write_bytes(proved(models.generator()))
    done = verify(openvino_python, tmp_path, "--compute", compute)
    assert done.returncode == 0, done.stdout + done.stderr
    setups = {check["setup"] for check in json.loads(done.stdout)["checks"]} - {""}
    computing = " in bf16" if compute == "bf16" else ""
    assert setups
    assert all(setup.startswith(f"OpenVINOExecutionProvider{computing},") for setup in setups)


@pytest.mark.slow
def test_an_int8_export_draws_at_40_db(openvino_python: str, tmp_path: Path) -> None:
    export_checkpoint(
        trained_checkpoint(width=8), ExportConfig(precision="int8"), tmp_path / "g.onnx"
    )
    done = verify(openvino_python, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "golden images" in {check["name"] for check in json.loads(done.stdout)["checks"]}
    manifest = Generator(tmp_path / "g.onnx", "cpu").manifest
    assert manifest is not None
    assert manifest.receipt.allowed.psnr == 40


def verify(
    python: str, folder: Path, *options: str, model: str = "g.onnx"
) -> "subprocess.CompletedProcess[str]":
    command = [python, "-m", "wgan", "verify", model, "--json", "--device", "openvino"]
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
