"""Train a WGAN-GP generator in PyTorch, export it with proof, run it with no PyTorch.

Importing this package loads nothing heavy. The three rooms are `wgan.training` (PyTorch),
`wgan.export` (PyTorch and ONNX) and `wgan.runtime` (numpy and onnxruntime).
"""

__version__ = "0.1.0"
