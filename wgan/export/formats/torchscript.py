"""A generator as a TorchScript archive, without the source paths that PyTorch writes into it."""

import io
import re
import sys
import warnings

import torch
from torch import nn

from wgan.errors import ExportError
from wgan.export.export_errors import export_errors
from wgan.model_file.archive import read_records, write_records

_MANGLED = re.compile(rb"___torch_mangle_\d+")


def to_torchscript(generator: nn.Module, latent_dim: int) -> bytes:
    """Trace `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

    The same generator gives the same bytes.

    Raises:
        ExportError: the generator cannot be traced, or this Python is too new for TorchScript.
    """
    if sys.version_info >= (3, 14):
        raise ExportError(
            "TorchScript does not work on Python 3.14 and later: use  --format pt2  or an older"
            " Python"
        )
    buffer = io.BytesIO()
    with export_errors("exported to TorchScript"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
        # The first trace of a process gives classes plain names, later ones numbered names: only
        # the second and later traces are alike.
        for _ in range(2):
            traced = torch.jit.trace(generator, torch.zeros(2, latent_dim), check_trace=False)
        torch.jit.save(traced, buffer)
    return _clean(buffer.getvalue())


def load_torchscript(data: bytes) -> nn.Module:
    """Open an archive's bytes on the CPU as `torch.jit.load` opens a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")
    return module


def freeze(module: nn.Module) -> nn.Module:
    """Fold constants for speed, with `torch.jit.freeze`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        frozen: nn.Module = torch.jit.freeze(module)
    return frozen


def _clean(archive: bytes) -> bytes:
    """Remove the records that hold source paths, and number the archive's classes from 0.

    The paths are in the `.debug_pkl` records. PyTorch numbers traced classes with a counter of the
    process, so without renumbering a second export would differ from the first.
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
            # Weights, below /data/, stay untouched: their bytes could look like such a name.
            rename(name.encode()).decode(): content if "/data/" in name else rename(content)
            for name, content in records.items()
        }
    )
