"""A generator as a `torch.export` archive, without the source paths that PyTorch writes into it."""

import io
from collections.abc import Callable

import torch
from torch import Tensor, nn

from wgan.export.config import ExportConfig
from wgan.export.draft import ExportDraft, archive_draft
from wgan.export.formats import example_inputs, export_errors, free_batches, quiet
from wgan.model_file.archive import read_records, write_records


def make_draft(
    generator: nn.Module, latent_dim: int, config: ExportConfig, classes: int = 0
) -> ExportDraft:
    """Trace a generator; `config` has no option for this format. Raises ExportError."""
    return archive_draft("pt2", to_pt2(generator, latent_dim, classes), load_pt2)


def to_pt2(generator: nn.Module, latent_dim: int, classes: int = 0) -> bytes:
    """Export `generator`, in eval mode and on the CPU: `forward(latents) -> images`.

    With `classes`: `forward(latents, labels) -> images`.

    Raises:
        ExportError: the generator cannot be traced.
    """
    example = example_inputs(latent_dim, classes)
    # The standard error gets the whole graph of a network that cannot be traced.
    with export_errors("exported to pt2"), quiet():
        program = torch.export.export(generator, example, dynamic_shapes=free_batches(example))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it holds the paths of source files
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return write_records(read_records(buffer.getvalue()))


def load_pt2(data: bytes) -> Callable[..., Tensor]:
    """Open an archive's bytes as `torch.export.load` opens a file."""
    return torch.export.load(io.BytesIO(data)).module()
