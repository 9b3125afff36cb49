"""A generator as a TorchScript archive, without the source paths that PyTorch writes into it."""

import io
import re
import sys
import warnings

import torch
from torch import nn

from wgan.errors import ExportError
from wgan.export.formats.tracing import network_errors
from wgan.model_file.archive import read_records, write_records

_MANGLED = re.compile(rb"___torch_mangle_\d+")


def to_torchscript(generator: nn.Module, latent_dim: int) -> bytes:
    """Trace `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

    The same generator gives the same bytes.

    Raises:
        ExportError: it cannot be traced, or this Python is too new for TorchScript.
    """
    if sys.version_info >= (3, 14):
        raise ExportError(
            "TorchScript does not work on Python 3.14 and later: use  --format pt2  or an older"
            " Python"
        )
    buffer = io.BytesIO()
    with network_errors("exported to TorchScript"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
        # The first trace in a process names its classes plainly, later ones number them.
        for _ in range(2):
            traced = torch.jit.trace(generator, torch.zeros(2, latent_dim), check_trace=False)
        torch.jit.save(traced, buffer)
    return _clean(buffer.getvalue())


def load_torchscript(data: bytes) -> nn.Module:
    """Open an archive's bytes on the CPU, as `torch.jit.load` opens the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")
    return module


def freeze(module: nn.Module) -> nn.Module:
    """Fold what is constant, for speed: what `torch.jit.freeze` is for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        frozen: nn.Module = torch.jit.freeze(module)
    return frozen


def _clean(archive: bytes) -> bytes:
    """Leave out what tells where the archive was made, and number its classes from 0.

    The `.debug_pkl` records hold the paths of source files. The traced classes are numbered by a
    counter of the process, so a second export would differ from the first.
    """
    records = {
        name: content
        for name, content in read_records(archive).items()
        if not name.endswith(".debug_pkl")
    }
    mangled = {
        found: b"___torch_mangle_%d" % number
        for number, found in enumerate(dict.fromkeys(_MANGLED.findall("\n".join(records).encode())))
    }

    def rename(content: bytes) -> bytes:
        return _MANGLED.sub(lambda match: mangled[match[0]], content)

    return write_records(
        {
            rename(name.encode()).decode(): content if "/data/" in name else rename(content)
            for name, content in records.items()
        }
    )
