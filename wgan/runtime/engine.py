"""ONNX Runtime: devices as users name them, sessions, and its errors as sentences."""

import contextlib
import ctypes
import io
import json
import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from wgan.errors import DeviceError, ModelFileError, UsageError, needs_extra
from wgan.host import usable_cores
from wgan.model_file.reading import read_complete
from wgan.runtime import plugins
from wgan.stop import interrupting
from wgan.text import first_line

Optimization = Literal["none", "basic", "extended", "all"]
"""How far ONNX Runtime may rewrite the graph before running it."""

COMPUTE_NAMES = ("fp32", "bf16")
"""The precisions in which a device may compute what the file has in float32."""

FOLDED_BYTES_LIMIT = 256 * 2**20
"""Bytes of constants by which optimisation may grow a graph, in versions that have this option."""


@dataclass(frozen=True)
class Device:
    """A device's provider, its options, and how to install it."""

    provider: str
    install: str  # the command that installs the provider
    libraries: str = ""  # the command that installs what the provider needs at run time
    options: Mapping[str, str] = field(default_factory=dict)
    library: str = ""  # the provider's file in onnxruntime's folder, on Linux; "": built in
    plugin: str = ""  # the import package of the provider for a plain onnxruntime
    hardware: str = ""  # what the plugin needs


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
        "pip install 'wgan[cpu,openvino]'",
        library="libonnxruntime_providers_openvino.so",
        plugin="onnxruntime_ep_openvino",
        hardware="a processor of Intel; onnxruntime-openvino in place of onnxruntime takes others",
    ),
    "webgpu": Device(
        "WebGpuExecutionProvider",
        "pip install 'wgan[cpu,webgpu]'",
        plugin="onnxruntime_ep_webgpu",
        hardware="a GPU with Vulkan, Direct3D 12 or Metal",
    ),
    "tensorrt-rtx": Device(
        "NvTensorRTRTXExecutionProvider",
        "pip install onnxruntime-ep-nv-tensorrt-rtx",
        plugin="onnxruntime_ep_nv_tensorrt_rtx",
        hardware="an NVIDIA RTX GPU",
    ),
    "mlx": Device(
        "MLXExecutionProvider",
        "pip install onnxruntime-ep-mlx  on macOS",
        plugin="onnxruntime_ep_mlx",
        hardware="Apple silicon",
    ),
}
"""The values of `device`, besides "auto"."""

DEVICE_NAMES = ("auto", *DEVICES)

AUTOMATIC = ("cuda", "directml", "openvino", "cpu")
"""The devices that "auto" tries, the best first. TensorRT builds an engine for minutes before its
first image, and Core ML may compute in float16: both are used only by name."""


@dataclass(frozen=True)
class EngineConfig:
    """How ONNX Runtime opens a model."""

    device: str = "auto"
    threads: int | None = None  # None: the usable cores
    optimization: Optimization = "all"
    compute: str = "fp32"

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for a named device; "auto" as it is."""
        return DEVICES[self.device].provider if self.device in DEVICES else self.device

    def __str__(self) -> str:
        computing = "" if self.compute == "fp32" else f" in {self.compute}"
        threads = self.threads or usable_cores()
        return f"{self.provider}{computing}, optimisations {self.optimization}, threads {threads}"


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


def provider_options(device: str, compute: str) -> dict[str, str]:
    """Return the options of a device's provider.

    Raises:
        UsageError: there is no such precision, or the device does not have it.
    """
    if compute not in COMPUTE_NAMES:
        raise UsageError(f"compute {compute!r} is not allowed: choose from fp32 and bf16")
    if device == "openvino":
        # Set, not left to OpenVINO: it takes bfloat16 by itself where the processor has it.
        hint = {"INFERENCE_PRECISION_HINT": "bf16" if compute == "bf16" else "f32"}
        return {"load_config": json.dumps({"CPU": hint})}
    if compute != "fp32":
        raise UsageError(f"--compute {compute} needs --device openvino, the device is {device}")
    return dict(DEVICES[device].options)


def with_options(device: str, compute: str = "fp32") -> ProviderList:
    """Return the provider of `device`, and the CPU for operators that it lacks."""
    chosen: ProviderList = [(DEVICES[device].provider, provider_options(device, compute))]
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


_sessions: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""The open sessions of this process."""


def _keep_inherited_sessions() -> None:
    """Never release the sessions that a forked process inherits.

    Their threads exist only in the parent, so that releasing one would wait for them without end.
    """
    for session in _sessions:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_keep_inherited_sessions)


def open_session(model: bytes | Path, config: EngineConfig) -> Any:
    """Open a model that `wgan.model_file.reading` has scanned: an onnxruntime.InferenceSession.

    With "auto", a device that is installed but does not work is skipped with a warning of the
    logger `wgan`; a device that was named is an error, never a silent run on the CPU.

    Raises:
        MissingExtra: onnxruntime is not installed.
        UsageError: there is no such device, or it does not compute in this precision.
        DeviceError: the device was named and does not work.
        ModelFileError: ONNX Runtime cannot open the model.
    """
    ort = import_onnxruntime()
    options = _session_options(ort, config.threads or usable_cores(), config.optimization)
    device, compute = config.device, config.compute
    if device in DEVICES:
        provider_options(device, compute)  # raises before anything is opened
        known = DEVICES[device]
        plugin = plugins.find(ort, known.plugin, known.provider, known.hardware)
        if plugin is not None:
            return _open_plugin(ort, model, options, device, plugin, compute)
    skipped: list[str] = []
    for name in provider_order(device, plugins.built_in(ort)):
        cause = diagnose_provider(ort, name)
        if cause is None:
            session = _open(ort, model, options, with_options(name, compute))
            if active_provider(session) == DEVICES[name].provider:
                if skipped:
                    logging.getLogger("wgan").warning("running on %s: %s", name, "; ".join(skipped))
                return session
            cause = f"ONNX Runtime fell back to the {active_provider(session)}"
        if device != "auto":
            hint = DEVICES[name].libraries
            raise DeviceError(
                f"device {name!r} does not work here: {cause}" + (f"; run  {hint}" if hint else "")
            )
        skipped.append(f"{name} does not work here ({cause})")
    raise DeviceError("the installed onnxruntime has no provider that works here")


def run_session(session: Any, outputs: Sequence[str], feed: Mapping[str, Any]) -> list[Any]:
    """Run a session once and return its outputs.

    SIGINT and SIGTERM end it at once, where `wgan.stop` handles them: a file from a stranger can
    hold a loop without end.

    Raises:
        ModelFileError: ONNX Runtime failed.
        Stopped: a signal ended it.
    """
    from onnxruntime import RunOptions

    options = RunOptions()
    try:
        with interrupting(lambda: setattr(options, "terminate", True)):
            results: list[Any] = session.run(list(outputs), feed, options)
    except ort_errors() as exc:
        raise ModelFileError(f"ONNX Runtime cannot run it: {first_line(exc)}") from exc
    return results


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime, without log output; `wgan` turns telemetry off. Raises MissingExtra."""
    with needs_extra("cpu", purpose="running an ONNX file"):
        import onnxruntime
    onnxruntime.set_default_logger_severity(4)  # failures are reported once, by exceptions
    module: ModuleType = onnxruntime
    return module


def ort_errors() -> tuple[type[Exception], ...]:
    """Exceptions of ONNX Runtime; they have no common base class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf"),
        *("ModelLoaded", "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"),
    )
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError, MemoryError)


def _open_plugin(
    ort: ModuleType, model: bytes | Path, options: Any, device: str, plugin: Any, compute: str
) -> Any:
    """Open a model on a plugin's device. Raises DeviceError and ModelFileError."""
    options.add_provider_for_devices([plugin], provider_options(device, compute))
    session = _open(ort, model, options, None)
    if active_provider(session) != DEVICES[device].provider:
        raise DeviceError(
            f"device {device!r} does not work here: ONNX Runtime fell back to the"
            f" {active_provider(session)}"
        )
    return session


def _open(
    ort: ModuleType, model: bytes | Path, options: Any, providers: ProviderList | None
) -> Any:
    if isinstance(model, Path) and not is_utf8(model):  # ONNX Runtime takes no other path
        model = read_complete(model)
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=providers,
            enable_fallback=0,  # no retry on the CPU, which prints to standard output
            read_config_from_model=0,  # a file must not set the session's options
        )
    except ort_errors() as exc:
        # It reads weights from a second file, but no shapes.
        if isinstance(model, Path) and "external" in str(exc):
            return _open(ort, read_complete(model), options, providers)
        raise ModelFileError(f"ONNX Runtime cannot open it: {first_line(exc)}") from exc
    _sessions.add(session)
    return session


def is_utf8(path: Path) -> bool:
    """Whether a path is text; on Linux it can be any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _session_options(ort: ModuleType, threads: int, optimization: Optimization) -> Any:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    # By default ONNX Runtime pins a thread to each physical core, which fails under a cpuset.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A memory pattern per batch size would keep a block of memory for each.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.graph_optimization_level = {
        "none": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[optimization]
    entries = {
        # The scan reads the ONNX format only: bytes of the ORT format would bypass it.
        "session.load_model_format": "ONNX",
        # Threads spin between two operators, which is faster than sleeping, but for 0.2 ms at most
        # (before ONNX Runtime 1.23 for longer), because on a busy machine they take cores from
        # other processes; after a run they do not spin.
        "session.force_spinning_stop": "1",
        "session.intra_op.spin_duration_us": "200",
        "optimization.constant_folding_max_output_size_in_bytes": str(FOLDED_BYTES_LIMIT),
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options
