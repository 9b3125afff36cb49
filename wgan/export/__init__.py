"""From a trained generator to a file that is proved to match PyTorch.

`export` does the work of `wgan export`; read `exporter.py`, then `draft.py`. `formats` writes the
files, `lowering` rewrites ONNX graphs, `parity` proves the result. Exporting needs PyTorch, and
ONNX files need onnx; both are imported when `export` runs.
"""

from wgan.export.config import ExportConfig
from wgan.export.exporter import ExportedFile, export

__all__ = ["ExportConfig", "ExportedFile", "export"]
