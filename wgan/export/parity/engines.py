"""The engines that run an exported file: ONNX Runtime in each configuration, or PyTorch."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from wgan.errors import DeviceError, ModelFileError, ParityError, needs_extra
from wgan.images import Images, Pixels, to_pixels
from wgan.latents import Labels, Latents

logger = logging.getLogger("wgan")

PYTORCH = "PyTorch"
"""Recorded in place of a provider where PyTorch runs its own format."""


Input = Latents | Labels
"""Of a generator: latents, and labels if it has classes."""


@dataclass(frozen=True)
class Engine:
    """One way to run an exported file."""

    provider: str  # an execution provider of ONNX Runtime, or PYTORCH
    run: Callable[..., tuple[Images, Pixels]]  # on latents, and on labels if there are classes
    optimization: str | None = None  # ONNX Runtime's graph optimisations: "all" or "none"
    threads: int | None = None

    def __str__(self) -> str:
        if self.threads is None:
            return self.provider
        return f"{self.provider}, optimisations {self.optimization}, threads {self.threads}"


def onnx_engines(data: bytes) -> Iterator[Engine]:
    """Open an ONNX file's bytes in every configuration of ONNX Runtime on this machine.

    Each working provider runs with all graph optimisations, as for users, and with none, to find
    an error that the optimiser hides; each with one thread and with one per core, since sums are
    split differently. A provider that is installed but does not work gives a warning.

    Raises:
        ParityError: ONNX Runtime cannot open the model, or its batch size is fixed.
    """
    with needs_extra("cpu", purpose="checking an ONNX export"):
        from wgan.runtime.every_engine import open_all
    try:
        for config, opened in open_all(data):
            if isinstance(opened, DeviceError):
                logger.warning("the export is not checked on %s: %s", config.provider, opened)
                continue
            # Checked before running: a frozen batch axis would fail with ONNX Runtime's own error.
            if opened.fixed_batch is not None:
                raise ParityError(
                    f"the export takes only batches of {opened.fixed_batch}; its batch axis must"
                    " be free. A generator may write the size of its batch into the graph, as"
                    " StyleGAN2's fused convolutions do: NVIDIA's has  --input fused_modconv=false"
                )
            yield Engine(config.provider, opened.run, config.optimization, config.threads)
    except ModelFileError as exc:
        raise ParityError(f"ONNX Runtime cannot open the export: {exc}") from exc


def pytorch_engines(module: Callable[..., Tensor]) -> Iterator[Engine]:
    """Run an archive that PyTorch has opened; its images become pixels as they do for users."""

    def run_with_pixels(*inputs: Input) -> tuple[Images, Pixels]:
        images = run_module(module)(*inputs).numpy()
        return images, to_pixels(images)

    yield Engine(PYTORCH, run_with_pixels)


def run_module(module: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a module as a function of latents, and labels if it has classes, without gradients."""

    def run(*inputs: Input) -> Tensor:
        with torch.inference_mode():
            return module(*map(torch.from_numpy, inputs))

    return run
