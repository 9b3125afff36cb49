"""A generator as a TorchScript or `torch.export` (pt2) archive.

PyTorch writes source paths and counters into both. They are removed, so that the same generator
gives the same bytes on any machine.
"""

import io
import re
import sys
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wgan.errors import ExportError
from wgan.export.formats import export_errors
from wgan.model_file.archive import read_records, write_records

_MANGLED = re.compile(rb"___torch_mangle_\d+")


def to_torchscript(generator: nn.Module, latent_dim: int) -> bytes:
    """Trace `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

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
    return _clean_torchscript(buffer.getvalue())


def load_torchscript(data: bytes, *, frozen: bool = False) -> nn.Module:
    """Open an archive's bytes on the CPU as `torch.jit.load` opens a file.

    With `frozen`, constants are folded for speed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")
        return torch.jit.freeze(module) if frozen else module


def to_pt2(generator: nn.Module, latent_dim: int) -> bytes:
    """Export `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

    Raises:
        ExportError: the generator cannot be traced.
    """
    with export_errors("exported to pt2"):
        program = torch.export.export(
            generator,
            (torch.zeros(2, latent_dim),),  # a batch of one would be frozen as a constant
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the paths of source files
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return write_records(read_records(buffer.getvalue()))


def load_pt2(data: bytes) -> Callable[[Tensor], Tensor]:
    """Open an archive's bytes as `torch.export.load` opens a file."""
    return torch.export.load(io.BytesIO(data)).module()


def _clean_torchscript(archive: bytes) -> bytes:
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
