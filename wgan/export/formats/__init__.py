"""The file formats of an export, and what is wrong with a generator that cannot be traced."""

from collections.abc import Iterator
from contextlib import contextmanager

from wgan.errors import ExportError, WganError
from wgan.text import first_line


@contextmanager
def export_errors(action: str) -> Iterator[None]:
    """Turn any error that the block raises into an ExportError.

    A user's network is arbitrary code, and PyTorch's tracers wrap its errors several times: the
    innermost error is the one that names the cause.

    Args:
        action: what the block does to the generator, as a participle: "exported to ONNX".

    Raises:
        ExportError: the block raised an error.
    """
    try:
        yield
    except (WganError, MemoryError):
        raise
    except Exception as exc:
        cause: BaseException = exc
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ExportError(
            f"the generator cannot be {action}: {first_line(cause, 200)}. It must take any batch of"
            " float32 latents, with no Python `if` on a tensor's values (docs/own-networks.md)"
        ) from exc
