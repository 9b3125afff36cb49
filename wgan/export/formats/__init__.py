"""The file formats of an export: what a generator is traced with, and why it cannot be traced."""

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from wgan.errors import ExportError, translated_errors
from wgan.text import first_line

STDERR = 2
"""File descriptor of the standard error stream."""


def export_errors(action: str) -> AbstractContextManager[None]:
    """Turn any error that the block raises into an ExportError.

    A user's network is arbitrary code, and PyTorch's tracers wrap its errors several times: the
    innermost error is the one that names the cause.

    Args:
        action: what the block does to the generator, as a participle: "exported to ONNX".

    Raises:
        ExportError: the block raised an error.
    """

    def explained(exc: Exception) -> ExportError:
        cause: BaseException = exc
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return ExportError(
            f"the generator cannot be {action}: {_reason(cause)}. It must take any batch of"
            " float32 latents, and of int64 labels with classes, with no Python `if` on a tensor's"
            " values (docs/own-networks.md)"
        )

    return translated_errors(explained)


def _reason(cause: BaseException) -> str:
    """The innermost error, in words where PyTorch names only its own classes."""
    if "Unsupported attribute type" in str(cause) and "SymbolicTensor" in str(cause):
        return (
            "a setting of an operator, such as the groups of a convolution, depends on the size of"
            " the batch, which ONNX has no form for (StyleGAN2 has a form without such groups: its"
            " fused_modconv=False, or fused=False)"
        )
    return first_line(cause, 200)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings, and what Python code prints, from the terminal."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what converters print, also from C++, from the terminal, unless the block fails.

    The standard streams belong to the process: what other threads write meanwhile is kept back too.
    """
    with tempfile.TemporaryFile() as kept, quiet():
        try:
            original = os.dup(STDERR)
        except OSError:  # it was closed, so that nothing can be seen
            yield
            return
        sys.stderr.flush()
        os.dup2(kept.fileno(), STDERR)
        try:
            yield
        except BaseException:
            os.dup2(original, STDERR)
            kept.seek(0)
            os.write(STDERR, kept.read())
            raise
        finally:
            os.dup2(original, STDERR)
            os.close(original)


def example_inputs(latent_dim: int, classes: int) -> tuple[Tensor, ...]:
    """What a generator is traced with: latents, and labels if it has classes.

    Two rows: a batch of one would be frozen as a constant (pytorch issue 148886).
    """
    latents = torch.zeros(2, latent_dim)
    return (latents, torch.zeros(2, dtype=torch.int64)) if classes else (latents,)


def free_batches(inputs: tuple[Tensor, ...]) -> tuple[dict[int, torch.export.Dim], ...]:
    """The `dynamic_shapes` with which PyTorch keeps the batch axis of all inputs free."""
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in inputs)
