"""Folders that hold an export: for the Hugging Face Hub and transformers.js, or for a web host."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from wgan.files import is_file

PUBLISHED_FILES: Mapping[str, str] = MappingProxyType(
    {"fp32": "onnx/model.onnx", "fp16": "onnx/model_fp16.onnx", "int8": "onnx/model_int8.onnx"}
)
"""Precision -> file of a published folder, the one that is preferred first. transformers.js finds
them by its option `dtype`."""


WEB_MODEL, WEB_DESCRIPTION = "generator.onnx", "model.json"
"""Files of a folder from `wgan export --format web`: the model, and what the page shows of it."""


def find_published(folder: Path) -> Path | None:
    """Return the preferred ONNX file of a folder from `wgan publish` or `--format web`, else None.

    A run's folder also has a file `generator.onnx`.
    """
    files = [folder / name for name in PUBLISHED_FILES.values()]
    if is_file(folder / WEB_DESCRIPTION):
        files.append(folder / WEB_MODEL)
    return next((path for path in files if is_file(path)), None)
