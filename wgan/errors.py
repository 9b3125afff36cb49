"""The errors that a user can meet.

    WganError                 anything that is not a bug in wgan; exit status 1
    ├── UsageError            a setting or argument that is not allowed; exit status 2
    ├── MissingExtra          a package that one of wgan's extras installs
    ├── DeviceError           a device or provider that is not there, or does not work
    │   └── OutOfMemory    a training step does not fit into the device's memory
    ├── OutputError           a file that could not be written whole
    ├── DataError             training data that is missing, damaged or too little
    │   └── ImageError      one image that cannot be used
    ├── RunError              a run folder that cannot be used
    │   ├── SettingChanged    a resumed run was given another setting than it began with
    │   └── CheckpointError   a checkpoint that is missing or damaged
    ├── TrainingDiverged      a loss or weight that is no longer finite
    ├── RankLost              another process of a training is gone
    │   └── RankFailed       another process stopped, and has said why
    ├── ModelFileError        a model file that cannot be used
    └── ExportError           an export that was not made
        └── ParityError       the export does not match PyTorch

A message names the thing, its value and what is allowed, in one or two sentences, and says what
to run next where there is such a thing.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class WganError(Exception):
    """Base of all errors that are the user's to mend; its message is one or two sentences."""

    exit_status = 1


class UsageError(WganError):
    """A setting or an argument that is not allowed."""

    exit_status = 2


class MissingExtra(WganError):
    """A package is not installed that one of wgan's extras would have brought."""


class DeviceError(WganError):
    """A device or an execution provider that is not there, or does not work."""


class OutOfMemory(DeviceError):
    """A training step does not fit into the device's memory."""


class OutputError(WganError):
    """A file that could not be written whole; nothing stands under its name."""


class DataError(WganError):
    """Training data that is missing, damaged or too little."""


class ImageError(DataError):
    """One image that cannot be used: damaged, too large, or of a kind that is not read."""


class RunError(WganError):
    """A run folder that cannot be used."""


class SettingChanged(RunError):
    """A run is resumed with another setting than it began with."""

    exit_status = 2


class CheckpointError(RunError):
    """A checkpoint that is missing, damaged or of another kind."""


class TrainingDiverged(WganError):
    """A loss, gradient or weight is no longer finite."""


class RankLost(WganError):
    """Another process of a training is gone, or does not answer."""


class RankFailed(RankLost):
    """Another process of a training stopped with an error, and has said why."""


class ModelFileError(WganError):
    """A model file that cannot be used: missing, damaged, of another kind, or unsafe."""


class ExportError(WganError):
    """An export that was not made; nothing stands under its name."""


class ParityError(ExportError):
    """The exported model does not match PyTorch within the tolerance."""


@contextmanager
def needs_extra(*extras: str, purpose: str) -> Iterator[None]:
    """Turn a failed import inside the block into the command that installs the package.

    Args:
        extras: the extras of wgan that install it.
        purpose: the subject of the sentence: "training", "running an ONNX file".

    Raises:
        MissingExtra: a package from outside wgan is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package in ("", "wgan"):  # a missing module of wgan itself is a bug: keep its traceback
            raise
        names = ",".join(extras)
        raise MissingExtra(
            f"{purpose} needs the package {package}, which is not installed: "
            f"run  pip install 'wgan[{names}]'"
        ) from exc
