"""Opening a model in ONNX Runtime: options, providers, and its errors made into sentences."""

import logging
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from wgan.errors import DeviceError, ModelFileError, needs_extra
from wgan.runtime.engine.diagnose import diagnose_provider
from wgan.runtime.engine.providers import DEVICES, active_provider, candidates, with_options
from wgan.runtime.threads import usable_cores
from wgan.text import first_line

Optimization = Literal["none", "basic", "extended", "all"]
"""How far ONNX Runtime may rewrite the graph before running it."""

FOLDED_BYTES_LIMIT = 256 * 2**20
"""Constants that a graph may grow by while it is opened, where ONNX Runtime can be told."""


def open_session(
    model: bytes | Path, device: str, threads: int | None, optimization: Optimization
) -> Any:  # an onnxruntime.InferenceSession; the package has no types
    """Open a model that `wgan.model_file.reading` has looked through.

    With "auto" a device that is installed and does not work is passed over with a warning (of
    the logger `wgan`); one that was named is an error, never a silent run on the CPU.

    Raises:
        MissingExtra: onnxruntime is not installed.
        UsageError: there is no such device.
        DeviceError: the device was named and does not work.
        ModelFileError: ONNX Runtime cannot open the model.
    """
    ort = import_onnxruntime()
    options = _session_options(ort, threads or usable_cores(), optimization)
    passed_over: list[str] = []
    for name in candidates(device, ort.get_available_providers()):
        cause = diagnose_provider(ort, name)
        if cause is None:
            session = _open(ort, model, options, name)
            if active_provider(session) == DEVICES[name].provider:
                _say_passed_over(name, passed_over)
                return session
            cause = f"ONNX Runtime fell back to the {active_provider(session)}"
        if device != "auto":
            hint = DEVICES[name].libraries
            raise DeviceError(
                f"device {name!r} does not work here: {cause}" + (f"; run  {hint}" if hint else "")
            )
        passed_over.append(f"{name} does not work here ({cause})")
    raise DeviceError("the installed onnxruntime has no provider that works here")


def _say_passed_over(device: str, passed_over: list[str]) -> None:
    if passed_over:
        logging.getLogger("wgan").warning("running on %s: %s", device, "; ".join(passed_over))


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime, quiet. Raises MissingExtra."""
    with needs_extra("cpu", purpose="drawing from an ONNX file"):
        import onnxruntime
    onnxruntime.set_default_logger_severity(4)  # what goes wrong is said once, by an error
    module: ModuleType = onnxruntime
    return module


def ort_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises; its exceptions have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        *("EPFail", "EngineError", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf"),
        *("ModelLoaded", "NoModel", "NoSuchFile", "NotImplemented", "RuntimeException"),
    )
    return (*(getattr(state, name) for name in names), RuntimeError, ValueError, MemoryError)


def _open(ort: ModuleType, model: bytes | Path, options: Any, device: str) -> Any:
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=with_options(device),
            enable_fallback=0,  # a retry on the CPU, printed to standard output
            read_config_from_model=0,  # else the file could set the session's options
        )
    except ort_errors() as exc:
        raise ModelFileError(f"ONNX Runtime cannot open it: {first_line(exc)}") from exc


def _session_options(ort: ModuleType, threads: int, optimization: Optimization) -> Any:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    # Without a number ONNX Runtime takes each physical core and pins to it, and a cpuset forbids.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of memory for each batch size that comes would each keep a block of its own.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.graph_optimization_level = {
        "none": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[optimization]
    entries = {
        # Bytes of another format would go round the look through the file.
        "session.load_model_format": "ONNX",
        # Threads wait actively for the next operator, which is faster than to fall asleep between
        # two, but for 0.2 ms at most, since on a busy machine they would keep others from the
        # cores (before ONNX Runtime 1.23 for longer), and not at all once a run is over.
        "session.force_spinning_stop": "1",
        "session.intra_op.spin_duration_us": "200",
        "optimization.constant_folding_max_output_size_in_bytes": str(FOLDED_BYTES_LIMIT),
    }
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options
