"""Train a WGAN-GP generator in PyTorch, export it with proof, run it without PyTorch.

Importing this package loads nothing heavy. `wgan.training`, `wgan.evaluation` (PyTorch) and
`wgan.export` (PyTorch and ONNX) make generators; `wgan.runtime` (numpy and onnxruntime) and
`wgan.server` run them.
"""

__version__ = "0.1.0"
