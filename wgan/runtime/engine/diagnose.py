"""Why a device cannot be used, found out before ONNX Runtime fails in its own many words.

ONNX Runtime answers a missing library with a screen of log and a session on the CPU. Loading the
same libraries by hand tells the cause in one line and costs nothing where they are there.
"""

import contextlib
import ctypes
import io
from pathlib import Path
from types import ModuleType

CUDA_DRIVER = "libcuda.so.1"

_LIBRARIES = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "openvino": "libonnxruntime_providers_openvino.so",
}
"""Device -> the library of its provider, in the folder of onnxruntime (Linux)."""


def diagnose_provider(ort: ModuleType, device: str) -> str | None:
    """Say what `device` lacks, None where nothing is known to be missing.

    `ort` is the imported package. For "cuda" and "tensorrt" its CUDA libraries are loaded from
    their pip packages as well, where they are installed.
    """
    folder = Path(str(ort.__file__)).parent / "capi"
    if device not in _LIBRARIES or not (folder / _LIBRARIES[device]).exists():
        return None  # built in, or another system
    if device in ("cuda", "tensorrt"):
        cause = driver_failure()
        if cause is not None:
            return cause
        _preload(ort)
    return _load(folder / _LIBRARIES[device])


def driver_failure(library: str = CUDA_DRIVER) -> str | None:
    """Say what the NVIDIA driver lacks, None where it shows a GPU."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"the NVIDIA driver ({library}) is not installed"
    code = driver.cuInit(0)
    if code != 0:
        return f"the NVIDIA driver finds no usable GPU (cuInit gives {code})"
    return None


def _preload(ort: ModuleType) -> None:
    if hasattr(ort, "preload_dlls"):  # 1.21 and later
        with contextlib.redirect_stdout(io.StringIO()):  # it prints; `_load` says the cause
            ort.preload_dlls()


def _load(library: Path) -> str | None:
    shared = library.with_name("libonnxruntime_providers_shared.so")
    try:
        ctypes.CDLL(str(shared), mode=ctypes.RTLD_GLOBAL)  # the provider takes symbols from it
        ctypes.CDLL(str(library))
    except OSError as exc:
        return str(exc)
    return None
