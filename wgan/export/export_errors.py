"""Errors that a generator raises while it runs or is traced, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from wgan.errors import ExportError, WganError

MAX_DETAIL = 200
"""Characters kept of PyTorch's message, which can fill several screens."""


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
        raise ExportError(
            f"the generator cannot be {action}: {_innermost(exc)}. It must take any batch of"
            " float32 latents, with no Python `if` on a tensor's values (docs/own-networks.md)"
        ) from exc


def _innermost(exc: BaseException) -> str:
    """Return the first line of the innermost cause, shortened."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    line = str(exc).strip().partition("\n")[0] or type(exc).__name__
    return line if len(line) <= MAX_DETAIL else line[: MAX_DETAIL - 3] + "..."
