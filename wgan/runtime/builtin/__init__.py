"""The small generator that is installed with wgan, for use without training."""

from pathlib import Path

from wgan.errors import ModelFileError

NAME = "builtin"
"""Its name in place of a model file."""

DESCRIPTION = "garments of Fashion-MNIST by class, 32x32, grey"

_FILE = Path(__file__).with_name("generator.onnx")


def builtin_model() -> Path:
    """Return the built-in generator's ONNX file, which `make_generator.sh` beside it creates.

    Raises:
        ModelFileError: this installation does not have it.
    """
    if not _FILE.is_file():
        raise ModelFileError(
            "no generator was exported in this folder, and the built-in one is not installed: run"
            "  wgan export --format onnx  first, or name a file"
        )
    return _FILE
