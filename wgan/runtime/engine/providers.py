"""Devices as users name them, and ONNX Runtime's execution providers behind them."""

import contextlib
import ctypes
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from wgan.errors import DeviceError, UsageError


@dataclass(frozen=True)
class Device:
    """A device's provider, its options, and how to install it."""

    provider: str
    install: str  # the command that installs the provider
    libraries: str = ""  # the command that installs what the provider needs at run time
    options: Mapping[str, str] = field(default_factory=dict)
    library: str = ""  # the provider's file in onnxruntime's folder, on Linux; "": built in


# TF32 keeps 10 bits of the mantissa, too few for the stated tolerance: set, not inherited. An
# exhaustive search for algorithms, the default, takes seconds for each new batch size.
_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

_NVIDIA = "pip uninstall onnxruntime  and  pip install 'wgan[gpu]'"
_CUDA_LIBRARIES = "pip install 'onnxruntime-gpu[cuda,cudnn]'"

DEVICES: Mapping[str, Device] = {
    "cpu": Device("CPUExecutionProvider", "pip install 'wgan[cpu]'"),
    "cuda": Device(
        "CUDAExecutionProvider",
        _NVIDIA,
        _CUDA_LIBRARIES,
        _CUDA,
        library="libonnxruntime_providers_cuda.so",
    ),
    "tensorrt": Device(
        "TensorrtExecutionProvider",
        _NVIDIA,
        f"{_CUDA_LIBRARIES}  and  pip install tensorrt",
        library="libonnxruntime_providers_tensorrt.so",
    ),
    "coreml": Device("CoreMLExecutionProvider", "pip install 'wgan[cpu]'  on macOS"),
    "directml": Device("DmlExecutionProvider", "pip install onnxruntime-directml  on Windows"),
    "openvino": Device(
        "OpenVINOExecutionProvider",
        "pip install onnxruntime-openvino",
        library="libonnxruntime_providers_openvino.so",
    ),
}
"""The values of `device`, besides "auto"."""

DEVICE_NAMES = ("auto", *DEVICES)

AUTOMATIC = ("cuda", "directml", "openvino", "cpu")
"""The devices that "auto" tries, the best first. TensorRT builds an engine for minutes before its
first image, and Core ML may compute in float16: both are used only by name."""

ProviderList = list[tuple[str, dict[str, str]]]
"""Providers with their options, as `onnxruntime.InferenceSession` takes them."""

CUDA_DRIVER = "libcuda.so.1"


def provider_order(device: str, available: Sequence[str]) -> list[str]:
    """Return the devices to try in order, of those whose provider this onnxruntime has.

    Raises:
        UsageError: there is no such device.
        DeviceError: the device was named and its provider is not installed.
    """
    if device == "auto":
        return [name for name in AUTOMATIC if DEVICES[name].provider in available]
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is not allowed: choose from {', '.join(DEVICE_NAMES)}")
    known = DEVICES[device]
    if known.provider not in available:
        raise DeviceError(
            f"device {device!r} needs the {known.provider}, which the installed onnxruntime does"
            f" not have: run  {known.install}"
        )
    return [device]


def with_options(device: str) -> ProviderList:
    """Return the provider of `device`, and the CPU for operators that it lacks."""
    chosen: ProviderList = [(DEVICES[device].provider, dict(DEVICES[device].options))]
    return chosen if device == "cpu" else [*chosen, (DEVICES["cpu"].provider, {})]


def active_provider(session: Any) -> str:
    """Return the provider that runs: ONNX Runtime drops one that fails without an error."""
    name: str = session.get_providers()[0]
    return name


def diagnose_provider(ort: ModuleType, device: str) -> str | None:
    """Return what `device` lacks on this machine, or None if nothing is known to be missing.

    ONNX Runtime reports a missing library by a screen of log and a session on the CPU. Loading
    the same libraries here first gives the cause in one line, and costs nothing if they are
    there. For CUDA and TensorRT the libraries of pip packages are loaded as well.

    Args:
        ort: the imported package onnxruntime.
        device: one of DEVICES.
    """
    library = Path(str(ort.__file__)).parent / "capi" / DEVICES[device].library
    if not DEVICES[device].library or not library.exists():
        return None  # built in, or another system
    if device in ("cuda", "tensorrt"):
        cause = driver_failure()
        if cause is not None:
            return cause
        if hasattr(ort, "preload_dlls"):  # 1.21 and later
            with contextlib.redirect_stdout(io.StringIO()):  # it prints what fails
                ort.preload_dlls()
    shared = library.with_name("libonnxruntime_providers_shared.so")
    try:
        # The provider takes symbols from the shared library, which must be global.
        ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(library))
    except OSError as exc:
        return str(exc)
    return None


def driver_failure(library: str = CUDA_DRIVER) -> str | None:
    """Return what the NVIDIA driver lacks, or None if it finds a GPU."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"the NVIDIA driver ({library}) is not installed"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver finds no usable GPU (cuInit gives {code})"
    return None
