"""Execution providers in packages of their own, which onnxruntime 1.23 and later can load."""

import importlib
from types import ModuleType
from typing import Any

from wgan.errors import DeviceError

_loaded: dict[str, str] = {}
"""Import package -> its provider, of the plugins that this process has loaded."""


def built_in(ort: ModuleType) -> list[str]:
    """Return the providers of onnxruntime itself: it lists those of loaded plugins too."""
    plugins = _loaded.values()
    return [name for name in ort.get_available_providers() if name not in plugins]


def find(ort: ModuleType, package: str, provider: str, hardware: str) -> Any | None:
    """Load the plugin `package` and return its device, an OrtEpDevice: the CPU if it has that.

    None if there is no such plugin, or onnxruntime has the provider built in.

    Raises:
        DeviceError: there is no device for the plugin here, and `hardware` names what it needs; or
            onnxruntime is too old for plugins.
    """
    if not package or provider in built_in(ort):
        return None
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        return None
    name = package.replace("_", "-")
    if not hasattr(ort, "register_execution_provider_library"):
        raise DeviceError(f"{name} needs onnxruntime 1.23 or later, this is {ort.__version__}")
    if package not in _loaded:
        # onnxruntime-ep-mlx has library_path, the others get_library_path.
        path = getattr(module, "get_library_path", None) or module.library_path
        ort.register_execution_provider_library(package, path())
        _loaded[package] = provider
    devices = [each for each in ort.get_ep_devices() if each.ep_name == provider]
    if not devices:
        raise DeviceError(f"{name} finds no device that it supports here: it needs {hardware}")
    return min(devices, key=lambda each: each.device.type.name != "CPU")
