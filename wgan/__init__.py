"""Train a WGAN-GP generator in PyTorch, export it with proof, run it without PyTorch.

    from wgan import Generator

    pixels = Generator("builtin").sample(64)    # (64, h, w, c) uint8

Importing this package loads nothing heavy. `wgan.training`, `wgan.evaluation` (PyTorch) and
`wgan.export` (PyTorch and ONNX) make generators; `wgan.runtime` (numpy and onnxruntime) and
`wgan.server` run them.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgan.runtime.generator import Generator

__version__ = "0.1.0"

# From 1.29 on onnxruntime sends telemetry on Linux, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["Generator", "__version__"]


def __getattr__(name: str) -> Any:
    # `import wgan` stays light: numpy and ONNX Runtime are imported with the first use (PEP 562).
    if name == "Generator":
        from wgan.runtime.generator import Generator

        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
