"""Engine configurations: the ways to run a model here that a user gets without naming one."""

from collections.abc import Iterator
from dataclasses import dataclass

from wgan.errors import DeviceError
from wgan.host import usable_cores
from wgan.runtime.engine.providers import AUTOMATIC, DEVICES
from wgan.runtime.engine.session import Optimization, import_onnxruntime
from wgan.runtime.generator import Generator


@dataclass(frozen=True)
class EngineConfig:
    """A device, a level of graph optimisation, and a number of threads."""

    device: str
    optimization: Optimization
    threads: int

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for the device."""
        return DEVICES[self.device].provider

    def __str__(self) -> str:
        return f"{self.provider}, optimizations {self.optimization}, threads {self.threads}"


def installed_engines() -> list[EngineConfig]:
    """Return all configurations: the best device first, many threads before one.

    Providers that "auto" never takes are left out: Core ML may compute in float16, and TensorRT
    builds an engine for minutes.
    """
    available = import_onnxruntime().get_available_providers()
    levels: tuple[Optimization, ...] = ("all", "none")
    return [
        EngineConfig(device, optimization, threads)
        for device in AUTOMATIC
        if DEVICES[device].provider in available
        for optimization in levels
        for threads in sorted({1, usable_cores()}, reverse=True)
    ]


def open_all(model: bytes) -> Iterator[tuple[EngineConfig, Generator | DeviceError]]:
    """Open `model` in each configuration, one after the other.

    A device that does not work, such as CUDA without a GPU, comes once, with its error.

    Raises:
        ModelFileError: ONNX Runtime cannot open the model.
    """
    failed: set[str] = set()
    for engine in installed_engines():
        if engine.device in failed:
            continue
        try:
            generator = Generator(
                model,
                engine.device,
                engine.threads,
                optimization=engine.optimization,
                checked=False,
            )
        except DeviceError as exc:
            failed.add(engine.device)
            yield engine, exc
            continue
        with generator:
            yield engine, generator
