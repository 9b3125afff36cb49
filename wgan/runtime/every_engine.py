"""A model opened in every configuration of ONNX Runtime that users get on this machine."""

import dataclasses
import itertools
from collections.abc import Iterator

from wgan.errors import DeviceError
from wgan.host import usable_cores
from wgan.model_file.foreign import ForeignOptions
from wgan.runtime.engine import (
    EngineConfig,
    Optimization,
    import_onnxruntime,
    provider_order,
)
from wgan.runtime.generator import Generator
from wgan.runtime.plugins import built_in


def open_all(
    model: bytes,
    foreign: ForeignOptions | None = None,
    device: str = "auto",
    compute: str = "fp32",
) -> Iterator[tuple[EngineConfig, Generator | DeviceError]]:
    """Open `model` in every way that a user of `device` gets, one after the other.

    These are the devices of "auto" or the named one, with and without graph optimisation, with
    many threads and with one. A device that does not work, such as CUDA without a GPU, comes once,
    with its error. `foreign` is for a file of another project.

    Raises:
        ModelFileError: ONNX Runtime cannot open the model.
        UsageError: an option is needed, or contradicts the model.
        MissingExtra: onnxruntime is not installed.
    """
    available = built_in(import_onnxruntime())
    levels: tuple[Optimization, ...] = ("all", "none")
    threads = sorted({1, usable_cores()}, reverse=True)
    for name in provider_order("auto", available) if device == "auto" else [device]:
        for level, count in itertools.product(levels, threads):
            engine = EngineConfig(name, count, level, compute)
            try:
                generator = Generator(
                    model, foreign=foreign, checked=False, **dataclasses.asdict(engine)
                )
            except DeviceError as exc:
                yield engine, exc
                break
            with generator:
                yield engine, generator
