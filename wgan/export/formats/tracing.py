"""What a network of the user's raises while it is run or traced, as a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from wgan.errors import ExportError, WganError
from wgan.text import first_line

SHOWN = 200
"""Characters of PyTorch's own words; they go on for screens."""


@contextmanager
def network_errors(doing: str) -> Iterator[None]:
    """Turn what is raised inside the block into an ExportError; `doing` as in `"exported"`.

    The network is any code, and PyTorch's tracers raise whatever meets them there, wrapped again
    and again: the innermost error is the one that says what is wrong.

    Raises:
        ExportError: something was raised.
    """
    try:
        yield
    except (WganError, MemoryError):
        raise
    except Exception as exc:
        raise ExportError(
            f"the generator cannot be {doing}: {_innermost(exc)}. It has to take any batch of"
            " float32 latents, with no Python `if` on a tensor's values (docs/own-networks.md)"
        ) from exc


def _innermost(exc: BaseException) -> str:
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return first_line(exc, SHOWN)
