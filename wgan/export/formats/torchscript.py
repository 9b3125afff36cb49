"""A generator as a TorchScript archive.

PyTorch writes source paths and counters into it. They are removed, so that the same generator gives
the same bytes on any machine.
"""

import io
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from wgan.errors import ExportError, UsageError
from wgan.export.config import ExportConfig
from wgan.export.draft import ExportDraft, archive_draft
from wgan.export.formats import example_inputs, export_errors
from wgan.export.parity.engines import run_module
from wgan.model_file.archive import read_records, write_records
from wgan.training.config import TrainConfig
from wgan.training.networks import build
from wgan.training.recipes import ARCHITECTURES

_MANGLED = re.compile(rb"___torch_mangle_\d+")


def make_draft(
    generator: nn.Module, latent_dim: int, config: ExportConfig, classes: int = 0
) -> ExportDraft:
    """Trace a generator; `config` has no option for this format. Raises ExportError."""
    archive = to_torchscript(generator, latent_dim, classes)
    return archive_draft("torchscript", archive, load_torchscript)


def to_torchscript(generator: nn.Module, latent_dim: int, classes: int = 0) -> bytes:
    """Trace `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

    With `classes`: `forward(latents, labels) -> images`.

    Raises:
        ExportError: the generator cannot be traced, or this Python is too new for TorchScript.
    """
    if sys.version_info >= (3, 14):
        raise ExportError(
            "TorchScript does not work on Python 3.14 and later: use  --format pt2  or an older"
            " Python"
        )
    example, buffer = example_inputs(latent_dim, classes), io.BytesIO()
    # check_trace would run the network again, which the parity gate does more thoroughly.
    with export_errors("exported to TorchScript"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
        # The first trace of a process gives classes plain names, later ones numbered names: only
        # the second and later traces are alike.
        for _ in range(2):
            traced = torch.jit.trace(generator, example, check_trace=False)
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


def torch_engines(
    config: Mapping[str, Any], latent_dim: int, threads: int
) -> dict[str, Callable[..., object]]:
    """The network of a manifest's `config` in PyTorch and in TorchScript, to compare speed with.

    The weights are new: they do not change how long a run takes.

    Raises:
        RunError: the configuration was written by another version of wgan.
        UsageError: the networks are not wgan's own. A model file may come from a stranger and must
            not choose which code runs.
    """
    settings = TrainConfig.from_dict(dict(config), "the manifest")
    if settings.arch not in ARCHITECTURES:
        raise UsageError(f"the architecture {settings.arch} is not one of wgan's own")
    generator = build(settings)[0]
    generator.eval().requires_grad_(False)
    torch.set_num_threads(threads)
    classes = len(settings.classes)
    scripted = load_torchscript(to_torchscript(generator, latent_dim, classes), frozen=True)
    return {"PyTorch": run_module(generator), "TorchScript, frozen": run_module(scripted)}


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
