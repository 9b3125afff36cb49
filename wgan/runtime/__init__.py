"""Running an exported generator with numpy and onnxruntime alone, no PyTorch.

from wgan.runtime import Generator
pixels = Generator("generator.onnx").sample(range(64))    # (64, h, w, c) uint8
"""

from wgan.runtime.generator import Generator

__all__ = ["Generator"]
