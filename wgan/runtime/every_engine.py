"""A model opened in every configuration of ONNX Runtime that users get on this machine."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from wgan.errors import DeviceError
from wgan.host import usable_cores
from wgan.model_file.foreign import ForeignOptions
from wgan.runtime.engine import AUTOMATIC, DEVICES, Optimization, import_onnxruntime
from wgan.runtime.generator import Generator
from wgan.runtime.plugins import built_in


@dataclass(frozen=True)
class EngineConfig:
    """A device, a level of graph optimisation, and a number of threads."""

    device: str
    optimization: Optimization
    threads: int
    compute: str = "fp32"

    @property
    def provider(self) -> str:
        """ONNX Runtime's name for the device."""
        return DEVICES[self.device].provider

    def __str__(self) -> str:
        computing = "" if self.compute == "fp32" else f" in {self.compute}"
        return (
            f"{self.provider}{computing}, optimisations {self.optimization}, threads {self.threads}"
        )


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
    automatic = [name for name in AUTOMATIC if DEVICES[name].provider in available]
    for name in automatic if device == "auto" else [device]:
        ways = itertools.product([name], levels, threads, [compute])
        for engine in itertools.starmap(EngineConfig, ways):
            try:
                generator = Generator(
                    model,
                    name,
                    engine.threads,
                    foreign=foreign,
                    optimization=engine.optimization,
                    checked=False,
                    compute=compute,
                )
            except DeviceError as exc:
                yield engine, exc
                break
            with generator:
                yield engine, generator
