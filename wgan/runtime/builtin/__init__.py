"""The small generator that comes with wgan, for machines that have not trained one."""

import logging
from pathlib import Path

from wgan.errors import ModelFileError
from wgan.runs import latest_export

NAME = "builtin"
"""What names it where a model file is asked for."""

DESCRIPTION = "garments of Fashion-MNIST, 32x32, grey"

_FILE = Path(__file__).with_name("generator.onnx")


def find_model(name: str | None) -> Path:
    """The ONNX file of this name, or, where none is given, the latest export or the built-in one.

    That the built-in one is taken is said by a warning of the logger `wgan`.

    Raises:
        ModelFileError: there is neither, or the latest export is gone.
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
        "no generator was exported in this folder: taking the built-in one (%s)", DESCRIPTION
    )
    return model


def builtin_model() -> Path:
    """The built-in generator's ONNX file; `make_generator.sh` beside it made it.

    Raises:
        ModelFileError: this installation was built without it.
    """
    if not _FILE.is_file():
        raise ModelFileError(
            "no generator was exported in this folder, and none is built in: run"
            "  wgan export --format onnx  first, or name a file with --model"
        )
    return _FILE
