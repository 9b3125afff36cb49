"""OpenVINO in ONNX Runtime, as a plugin and built in, in float32 and bfloat16.

The plugin supports Intel's processors only. WGAN_OPENVINO_PYTHON is an interpreter that has
onnxruntime-openvino, click and pillow: it cannot be installed beside onnxruntime.
"""

import importlib.util
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
from wgan.errors import DeviceError, UsageError
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.runtime import Generator

VARIABLE = "WGAN_OPENVINO_PYTHON"

DRAW = """
import sys
import numpy
from wgan.runtime import Generator
for compute in ("fp32", "bf16"):
    with Generator(sys.argv[1], "openvino", compute=compute) as generator:
        assert generator.provider == "OpenVINOExecutionProvider"
        numpy.save(f"{compute}.npy", generator.sample(range(64)))
"""


@pytest.fixture
def openvino_python() -> str:
    python = os.environ.get(VARIABLE)
    if python is None:
        pytest.skip(f"{VARIABLE} does not name a Python that has onnxruntime-openvino")
    return python


def test_bf16_needs_openvino(model_file: Path) -> None:
    with pytest.raises(UsageError, match="--compute bf16 needs --device openvino"):
        Generator(model_file, "cpu", compute="bf16")


def test_the_plugin_draws_or_says_that_it_has_no_device(
    model_file: Path, generator: Generator
) -> None:
    if importlib.util.find_spec("onnxruntime_ep_openvino") is None:
        pytest.skip("the plugin is not installed: pip install 'wgan[openvino]'")
    expected = generator.sample(16).astype(int)
    try:
        with Generator(model_file, "openvino") as drawn:
            assert drawn.provider == "OpenVINOExecutionProvider"
            assert np.abs(drawn.sample(16) - expected).max() <= 1
    except DeviceError as exc:
        assert "finds no device that it supports here" in str(exc)  # noqa: PT017 - one of two
    # The plugin, once loaded, is not used unless it is named.
    assert Generator(model_file).provider != "OpenVINOExecutionProvider"


def test_built_in_openvino_draws_the_same_in_float32_and_nearly_in_bf16(
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


def verify(python: str, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [python, "-m", "wgan", "verify", "g.onnx", "--json", "--device", "openvino"]
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
