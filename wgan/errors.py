"""Errors that a user can meet.

    WganError                 not a bug in wgan; exit status 1
    ├── UsageError            a setting or argument is not allowed; exit status 2
    │   └── UnknownRange      the graph does not show the values of black and white
    ├── MissingExtra          a package of one of wgan's extras is not installed
    ├── DeviceError           a device or execution provider is missing or does not work
    │   └── OutOfMemory       a training step does not fit into the device's memory
    ├── OutputError           a file could not be written completely
    ├── DataError             training data is missing, damaged or too small
    │   └── ImageError        a single image cannot be used
    ├── RunError              a run folder cannot be used
    │   ├── SettingChanged    a run is resumed with a different setting; exit status 2
    │   └── CheckpointError   a checkpoint is missing or damaged
    ├── TrainingDiverged      a loss, gradient or weight is not finite
    ├── RankLost              another rank of a training is gone or does not answer
    │   └── RankFailed        another rank stopped with an error, which it reports itself
    ├── ModelFileError        a model file cannot be used
    └── ExportError           an export was not written
        └── ParityError       the exported model does not match PyTorch

A message names the thing, its value and what is allowed, in one or two sentences, and what to run
next.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class WganError(Exception):
    """Base of all errors that the user can fix; its message is one or two sentences."""

    exit_status = 1


class UsageError(WganError):
    """A setting or an argument is not allowed."""

    exit_status = 2


class UnknownRange(UsageError):
    """The values of black and white in a model's images are not in its graph, nor given."""


class MissingExtra(WganError):
    """A package of one of wgan's extras is not installed."""


class DeviceError(WganError):
    """A device or an execution provider is missing or does not work."""


class OutOfMemory(DeviceError):
    """A training step does not fit into the device's memory."""


class OutputError(WganError):
    """A file could not be written completely; a file of that name is as it was."""


class DataError(WganError):
    """Training data is missing, damaged or too small."""


class ImageError(DataError):
    """A single image cannot be used: damaged, too large, or of an unsupported kind."""


class RunError(WganError):
    """A run folder cannot be used."""


class SettingChanged(RunError):
    """A run is resumed with a different setting than it began with."""

    exit_status = 2


class CheckpointError(RunError):
    """A checkpoint is missing, damaged or of another kind."""


class TrainingDiverged(WganError):
    """A loss, gradient or weight is not finite."""


class RankLost(WganError):
    """Another rank of a training is gone or does not answer."""


class RankFailed(RankLost):
    """Another rank of a training stopped with an error, which it reports itself."""


class ModelFileError(WganError):
    """A model file cannot be used: missing, damaged, of another kind, or unsafe."""


class ExportError(WganError):
    """An export was not written; a file of that name is as it was."""


class ParityError(ExportError):
    """The exported model does not match PyTorch within the tolerance."""


@contextmanager
def translated_errors(translate: Callable[[Exception], WganError]) -> Iterator[None]:
    """Turn an error of a user's or a library's code, of any class, into what `translate` returns.

    wgan's own errors and MemoryError pass as they are.
    """
    try:
        yield
    except (WganError, MemoryError):
        raise
    except Exception as exc:
        raise translate(exc) from exc


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
