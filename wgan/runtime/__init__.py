"""Run an exported generator with numpy and onnxruntime, without PyTorch.

from wgan.runtime import Generator, SampleConfig, sample
pixels = Generator("generator.onnx").sample(range(64))    # (64, h, w, c) uint8
sample(SampleConfig(model="generator.onnx", out="samples.png"))    # as `wgan sample`

`wgan.images.to_pil` and `wgan.images.grid` make a Pillow image of pixels.
"""

from wgan.runtime.config import SampleConfig
from wgan.runtime.generator import Generator
from wgan.runtime.sampling import sample

__all__ = ["Generator", "SampleConfig", "sample"]
