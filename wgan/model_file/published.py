"""The layout of a published folder, which the Hugging Face Hub and transformers.js expect."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from wgan.files import is_file

PUBLISHED_FILES: Mapping[str, str] = MappingProxyType(
    {"fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx", "int8": "onnx/model_int8.onnx"}
)
"""Precision -> file of a published folder, the one that is preferred first. transformers.js finds
them by its option `dtype`."""


def find_published(folder: Path) -> Path | None:
    """Return the preferred ONNX file of a folder from `wgan publish`; None for another folder."""
    files = (folder / name for name in PUBLISHED_FILES.values())
    return next((path for path in files if is_file(path)), None)
