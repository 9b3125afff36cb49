"""Devices as the user names them, and ONNX Runtime's execution providers behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wgan.errors import DeviceError, UsageError


@dataclass(frozen=True)
class Device:
    """A device's provider, how to come by it, and the options it is opened with."""

    provider: str
    install: str  # the command that brings the provider
    libraries: str = ""  # what else to see to when it does not work
    options: Mapping[str, str] = field(default_factory=dict)


# TF32 keeps 10 bits of a factor, too few for the stated tolerance: set, not inherited. An
# exhaustive search for algorithms, the default, takes seconds for each new batch size.
_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}

_NVIDIA = "pip uninstall onnxruntime  and  pip install 'wgan[gpu]'"
_CUDA_LIBRARIES = "pip install 'onnxruntime-gpu[cuda,cudnn]'"

DEVICES: Mapping[str, Device] = {
    "cpu": Device("CPUExecutionProvider", "pip install 'wgan[cpu]'"),
    "cuda": Device("CUDAExecutionProvider", _NVIDIA, _CUDA_LIBRARIES, _CUDA),
    "tensorrt": Device(
        "TensorrtExecutionProvider", _NVIDIA, f"{_CUDA_LIBRARIES}  and  pip install tensorrt"
    ),
    "coreml": Device("CoreMLExecutionProvider", "pip install 'wgan[cpu]'  on macOS"),
    "directml": Device("DmlExecutionProvider", "pip install onnxruntime-directml  on Windows"),
    "openvino": Device("OpenVINOExecutionProvider", "pip install onnxruntime-openvino"),
}
"""What `device` may be, besides "auto"."""

DEVICE_NAMES = ("auto", *DEVICES)

AUTOMATIC = ("cuda", "directml", "openvino", "cpu")
"""The devices that "auto" tries, the best first. TensorRT builds an engine for minutes before its
first image, and Core ML may compute in float16: both are taken by name alone."""

ProviderList = list[tuple[str, dict[str, str]]]
"""Providers with their options, as `onnxruntime.InferenceSession` takes them."""


def candidates(device: str, available: Sequence[str]) -> list[str]:
    """The devices to try in turn, of those whose provider this onnxruntime has.

    Raises:
        UsageError: there is no such device.
        DeviceError: a device was named whose provider is not installed.
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
    """The provider of `device`, and the CPU for operators that it lacks."""
    chosen: ProviderList = [(DEVICES[device].provider, dict(DEVICES[device].options))]
    return chosen if device == "cpu" else [*chosen, (DEVICES["cpu"].provider, {})]


def active_provider(session: Any) -> str:
    """The provider that really runs: ONNX Runtime drops one that fails without an error."""
    name: str = session.get_providers()[0]
    return name
