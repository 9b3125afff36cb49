"""Every way to run a model here that a user can get without asking for it by name."""

from collections.abc import Iterator
from dataclasses import dataclass

from wgan.errors import DeviceError
from wgan.runtime.engine.providers import AUTOMATIC, DEVICES
from wgan.runtime.engine.session import Optimization, import_onnxruntime
from wgan.runtime.generator import Generator
from wgan.runtime.threads import usable_cores


@dataclass(frozen=True)
class EngineConfig:
    """One way to run a model."""

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
    """All of them: the best first, of each provider one with many threads before one with one.

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
    """Open `model` in each setup, one after the other; of a device that does not work, why.

    Such a one, installed without its hardware as a rule, comes once and not with each setup.

    Raises:
        ModelFileError: ONNX Runtime cannot open the model.
    """
    failed: set[str] = set()
    for setup in installed_engines():
        if setup.device in failed:
            continue
        try:
            generator = Generator(
                model, setup.device, setup.threads, optimization=setup.optimization, checked=False
            )
        except DeviceError as exc:
            failed.add(setup.device)
            yield setup, exc
            continue
        with generator:
            yield setup, generator
