"""WebGPU as a plugin of ONNX Runtime, on SwiftShader: Vulkan in software, which Chromium brings.

ONNX Runtime looks for GPUs in /sys/class/drm. Where it finds none, a mount namespace shows it one;
everything behind it is real. WGAN_PLUGINS_PYTHON is a Python that has wgan's extras cpu and webgpu.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.processes import ROOT
from tests.runtime import models
from tests.runtime.test_verification import proved
from wgan.runtime import Generator

VARIABLE = "WGAN_PLUGINS_PYTHON"

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")

SHOW_A_GPU = """
mount -t tmpfs none /sys/class && cd /sys/class && mkdir -p drm/card0/device && cd drm/card0/device
echo 0x1af4 > vendor; echo 0x1050 > device; echo 0x030000 > class
cd "$0" && exec "$@"
"""

DRAW = """
import sys
import numpy
from wgan.runtime import Generator
with Generator(sys.argv[1], "webgpu") as generator:
    assert generator.provider == "WebGpuExecutionProvider"
    numpy.save("webgpu.npy", generator.sample(range(20)))
"""


def plugins_python() -> str:
    python = os.environ.get(VARIABLE)
    if python is None:
        pytest.skip(f"{VARIABLE} does not name a Python that has onnxruntime-ep-webgpu")
    return python


def run(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
        "VK_ICD_FILENAMES": str(SWIFTSHADER),
        "LD_LIBRARY_PATH": str(SWIFTSHADER.parent),  # Chromium brings Vulkan's loader too
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def on_a_gpu(tmp_path: Path) -> list[str]:
    """A command that runs another one where ONNX Runtime finds a GPU, in the test's folder."""
    if not SWIFTSHADER.exists():
        pytest.skip("there is no Chromium, whose SwiftShader draws without a GPU")
    unshare = shutil.which("unshare")
    command = [unshare or "", "--mount", "sh", "-c", SHOW_A_GPU, str(tmp_path)]
    if unshare is None or run(*command, "true", folder=tmp_path).returncode:
        pytest.skip("no mount namespace can be made here")
    return command


def test_webgpu_draws_the_same(
    model_file: Path, generator: Generator, on_a_gpu: list[str], tmp_path: Path
) -> None:
    done = run(*on_a_gpu, plugins_python(), "-c", DRAW, str(model_file), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = generator.sample(range(20)).astype(int)
    assert np.abs(np.load(tmp_path / "webgpu.npy") - expected).max() <= 1


def test_verify_proves_webgpu(on_a_gpu: list[str], tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(proved(models.generator()))
    verify = ("-m", "wgan", "verify", "g.onnx", "--json", "--device", "webgpu")
    done = run(*on_a_gpu, plugins_python(), *verify, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    setups = {check["setup"] for check in json.loads(done.stdout)["checks"]} - {""}
    assert setups
    assert all(setup.startswith("WebGpuExecutionProvider,") for setup in setups)


def test_without_a_gpu_the_plugin_says_what_it_needs(model_file: Path, tmp_path: Path) -> None:
    if any(Path("/sys/class").glob("drm/card*")):
        pytest.skip("this machine has a GPU")
    sample = ("-m", "wgan", "sample", "--model", str(model_file), "--device", "webgpu", "a.png")
    done = run(plugins_python(), *sample, folder=tmp_path)
    assert done.returncode == 1
    assert "onnxruntime-ep-webgpu finds no device that it supports here: it needs a GPU" in (
        done.stderr
    )
