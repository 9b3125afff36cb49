"""Devices as the user names them, and ONNX Runtime's execution providers behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from wgan.errors import DeviceError, UsageError

CPU = "CPUExecutionProvider"

PROVIDERS: Mapping[str, str] = {
    "cpu": CPU,
    "cuda": "CUDAExecutionProvider",
}
"""Device -> the provider that runs on it."""

DEVICES = ("auto", *PROVIDERS)
"""What `device` may be."""

AUTOMATIC = ("cuda", "cpu")
"""The devices that `auto` tries, the best first."""

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    # TF32 keeps 10 bits of a factor: too few for the stated tolerance. Set, not inherited.
    "cuda": {"use_tf32": "0"},
}

ProviderList = list[tuple[str, dict[str, str]]]
"""Providers with their options, as `onnxruntime.InferenceSession` takes them."""


def candidates(device: str, available: Sequence[str]) -> list[str]:
    """The devices to try in turn, of those whose provider this onnxruntime has.

    Raises:
        UsageError: there is no such device.
        DeviceError: a device was named whose provider is not installed.
    """
    if device == "auto":
        return [name for name in AUTOMATIC if PROVIDERS[name] in available]
    if device not in PROVIDERS:
        raise UsageError(f"device {device!r} is not allowed: choose from {', '.join(DEVICES)}")
    if PROVIDERS[device] not in available:
        raise DeviceError(
            f"device {device!r} needs the {PROVIDERS[device]}, which the installed onnxruntime"
            " does not have: run  pip uninstall onnxruntime  and  pip install 'wgan[gpu]'"
        )
    return [device]


def with_options(device: str) -> ProviderList:
    """The provider of `device`, and the CPU for operators that it lacks."""
    chosen: ProviderList = [(PROVIDERS[device], dict(_OPTIONS.get(device, {})))]
    return chosen if device == "cpu" else [*chosen, (CPU, {})]


def active_provider(session: Any) -> str:
    """The provider that really runs: ONNX Runtime drops one that fails without an error."""
    name: str = session.get_providers()[0]
    return name
