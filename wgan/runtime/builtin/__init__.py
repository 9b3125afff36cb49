"""The small generator that comes with wgan, for machines that have not trained one."""

from pathlib import Path

from wgan.errors import ModelFileError

NAME = "builtin"
"""What names it where a model file is asked for."""

DESCRIPTION = "garments of Fashion-MNIST, 32x32, grey"

_FILE = Path(__file__).with_name("generator.onnx")


def builtin_model() -> Path:
    """The built-in generator's ONNX file; `make_generator.sh` beside it made it.

    Raises:
        ModelFileError: this installation was built without it.
    """
    if not _FILE.is_file():
        raise ModelFileError(
            "this installation has no built-in generator: run  wgan export --format onnx  first,"
            " or name a file with --model"
        )
    return _FILE
