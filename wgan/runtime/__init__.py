"""Run an exported generator with numpy and onnxruntime, without PyTorch.

from wgan.runtime import Generator, SampleConfig, sample
pixels = Generator("generator.onnx").sample(range(64))    # (64, h, w, c) uint8
sample(SampleConfig(model="generator.onnx", out="samples.png"))    # as `wgan sample`

`wgan.images.to_pil` and `wgan.images.grid` make a Pillow image of pixels.
"""

from typing import TYPE_CHECKING, Any

from wgan.runtime.config import SampleConfig

if TYPE_CHECKING:
    from wgan.runtime.generator import Generator
    from wgan.runtime.sampling import sample

__all__ = ["Generator", "SampleConfig", "sample"]


def __getattr__(name: str) -> Any:
    # `wgan --help` shows the options of SampleConfig without numpy and ONNX Runtime (PEP 562).
    if name == "Generator":
        from wgan.runtime.generator import Generator

        return Generator
    if name == "sample":
        from wgan.runtime.sampling import sample

        return sample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
