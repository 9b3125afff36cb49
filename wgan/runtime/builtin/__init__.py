"""The small generator that is installed with wgan, for use without training."""

import logging
from pathlib import Path

from wgan.errors import ModelFileError
from wgan.runs import latest_export

NAME = "builtin"
"""Its name in place of a model file."""

DESCRIPTION = "garments of Fashion-MNIST, 32x32, grey"

_FILE = Path(__file__).with_name("generator.onnx")


def find_model(name: str | None) -> Path:
    """Return the ONNX file of this name; without a name the latest export or the built-in one.

    A warning of the logger `wgan` says that the built-in generator is used.

    Raises:
        ModelFileError: there is neither, or the latest export is missing.
    """
    if name == NAME:
        return builtin_model()
    if name is not None:
        return Path(name)
    latest = latest_export()
    if latest is not None:
        return latest
    model = builtin_model()
    logging.getLogger("wgan").warning(
        "no generator was exported in this folder: using the built-in one (%s)", DESCRIPTION
    )
    return model


def builtin_model() -> Path:
    """Return the built-in generator's ONNX file, which `make_generator.sh` beside it creates.

    Raises:
        ModelFileError: this installation does not have it.
    """
    if not _FILE.is_file():
        raise ModelFileError(
            "no generator was exported in this folder, and the built-in one is not installed: run"
            "  wgan export --format onnx  first, or name a file with --model"
        )
    return _FILE
