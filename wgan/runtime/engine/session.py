"""ONNX Runtime sessions: options, providers, and ONNX Runtime's errors as sentences."""

import ctypes
import logging
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from wgan.errors import DeviceError, ModelFileError, needs_extra
from wgan.host import usable_cores
from wgan.model_file.reading import read_bytes
from wgan.runtime.engine.providers import (
    DEVICES,
    active_provider,
    diagnose_provider,
    provider_order,
    with_options,
)
from wgan.stop import interrupting
from wgan.text import first_line

Optimization = Literal["none", "basic", "extended", "all"]
"""How far ONNX Runtime may rewrite the graph before running it."""

FOLDED_BYTES_LIMIT = 256 * 2**20
"""Bytes of constants by which optimisation may grow a graph, in versions that have this option."""


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


def open_session(
    model: bytes | Path, device: str, threads: int | None, optimization: Optimization
) -> Any:  # an onnxruntime.InferenceSession; the package has no types
    """Open a model that `wgan.model_file.reading` has scanned.

    With "auto", a device that is installed but does not work is skipped with a warning of the
    logger `wgan`; a device that was named is an error, never a silent run on the CPU.

    Raises:
        MissingExtra: onnxruntime is not installed.
        UsageError: there is no such device.
        DeviceError: the device was named and does not work.
        ModelFileError: ONNX Runtime cannot open the model.
    """
    ort = import_onnxruntime()
    options = _session_options(ort, threads or usable_cores(), optimization)
    skipped: list[str] = []
    for name in provider_order(device, ort.get_available_providers()):
        cause = diagnose_provider(ort, name)
        if cause is None:
            session = _open(ort, model, options, name)
            _sessions.add(session)
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


def _open(ort: ModuleType, model: bytes | Path, options: Any, device: str) -> Any:
    if isinstance(model, Path) and not is_utf8(model):  # ONNX Runtime takes no other path
        model = read_bytes(model)
    try:
        return ort.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=with_options(device),
            enable_fallback=0,  # no retry on the CPU, which prints to standard output
            read_config_from_model=0,  # a file must not set the session's options
        )
    except ort_errors() as exc:
        raise ModelFileError(f"ONNX Runtime cannot open it: {first_line(exc)}") from exc


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
