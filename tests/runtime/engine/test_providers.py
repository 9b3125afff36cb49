import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.processes import ROOT, Finished
from tests.runtime import models
from wgan.errors import DeviceError, UsageError
from wgan.runtime.engine import (
    DEVICE_NAMES,
    DEVICES,
    diagnose_provider,
    driver_failure,
    provider_order,
    with_options,
)

ALL = [device.provider for device in DEVICES.values()]


def test_auto_tries_the_best_first_and_the_cpu_last() -> None:
    assert provider_order("auto", ALL) == ["cuda", "directml", "openvino", "cpu"]
    assert provider_order("auto", ["CPUExecutionProvider"]) == ["cpu"]


@pytest.mark.parametrize("name", DEVICES)
def test_a_named_device_is_the_only_one_tried(name: str) -> None:
    assert provider_order(name, ALL) == [name]


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "cpu"])
def test_a_missing_provider_is_reported_with_its_install_command(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' needs the .*: run  pip "):
        provider_order(name, ["CPUExecutionProvider"])


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=f"choose from {', '.join(DEVICE_NAMES)}"):
        provider_order("tpu", ALL)


def test_the_cpu_runs_operators_that_a_device_lacks() -> None:
    assert [name for name, _ in with_options("cuda")] == [
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert with_options("cuda")[0][1]["use_tf32"] == "0"
    assert [name for name, _ in with_options("cpu")] == ["CPUExecutionProvider"]


def test_a_missing_driver_is_named() -> None:
    cause = driver_failure("libcuda-that-is-not-there.so")
    assert cause == "the NVIDIA driver (libcuda-that-is-not-there.so) is not installed"


def fake_onnxruntime(folder: Path, *libraries: str) -> types.ModuleType:
    """A package whose provider libraries cannot be loaded."""
    (folder / "capi").mkdir()
    for name in libraries:
        (folder / "capi" / name).write_bytes(b"no library")
    module = types.ModuleType("onnxruntime")
    module.__file__ = str(folder / "__init__.py")
    return module


def test_a_library_that_fails_to_load_is_named(tmp_path: Path) -> None:
    libraries = (f"libonnxruntime_providers_{name}.so" for name in ("shared", "openvino"))
    cause = diagnose_provider(fake_onnxruntime(tmp_path, *libraries), "openvino")
    assert cause is not None
    assert "libonnxruntime_providers_shared.so" in cause


def test_a_built_in_provider_needs_no_library(tmp_path: Path) -> None:
    onnxruntime = fake_onnxruntime(tmp_path)
    assert [diagnose_provider(onnxruntime, name) for name in DEVICES] == [None] * len(DEVICES)


@pytest.fixture(scope="module")
def gpu_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with onnxruntime-gpu.

    WGAN_GPU_PYTHON names one; with WGAN_BUILD_ENVIRONMENTS set, one is made (300 MB to fetch).
    """
    if "WGAN_GPU_PYTHON" in os.environ:
        return Path(os.environ["WGAN_GPU_PYTHON"])
    if "WGAN_BUILD_ENVIRONMENTS" not in os.environ:
        pytest.skip("needs an environment with onnxruntime-gpu: set WGAN_BUILD_ENVIRONMENTS=1")
    folder = tmp_path_factory.mktemp("gpu")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    packages = ["onnxruntime-gpu", "numpy", "pillow", "click"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, timeout=600)
    return python


@pytest.mark.slow
class TestOnnxruntimeGpuOnAMachineWithoutGpu:
    """Skipped if there is a GPU, because the device works then."""

    @pytest.fixture(autouse=True)
    def _no_gpu(self) -> None:
        if driver_failure() is None:
            pytest.skip("this machine has a GPU")

    def sample(self, python: Path, folder: Path, *arguments: str) -> Finished:
        (folder / "model.onnx").write_bytes(models.generator().SerializeToString())
        return subprocess.run(
            [python, "-m", "wgan", "sample", "--model", "model.onnx", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def test_auto_runs_on_the_cpu_with_one_line(self, gpu_python: Path, tmp_path: Path) -> None:
        done = self.sample(gpu_python, tmp_path, "-v", "out.png")
        assert done.returncode == 0
        assert done.stdout == ""
        cause = "the NVIDIA driver (libcuda.so.1) is not installed"
        assert done.stderr.splitlines() == [
            f"Warning: running on cpu: cuda does not work here ({cause})",
            "running on CPUExecutionProvider",
            "wrote 64 images to out.png",
        ]

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_a_named_device_is_an_error_with_its_cause(
        self, gpu_python: Path, tmp_path: Path, device: str
    ) -> None:
        done = self.sample(gpu_python, tmp_path, "--device", device, "out.png")
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"Error: device '{device}' does not work here: the NVIDIA driver")
        assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in line
        assert not (tmp_path / "out.png").exists()
