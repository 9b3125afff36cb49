"""The whole of `wgan export`: find a checkpoint, export it in each format, remember the file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import needs_extra
from wgan.export.config import ExportConfig
from wgan.export.formats.triton import write_repository
from wgan.export.output_paths import choose_checkpoint, output_paths
from wgan.model_file.manifest import Manifest
from wgan.runs import Run, remember_export, which_checkpoint


@dataclass(frozen=True)
class ExportedFile:
    """A file that was proved to match PyTorch."""

    path: Path
    manifest: Manifest  # its description; `manifest.receipt` is the proof


def export(
    config: ExportConfig, on_file: Callable[[ExportedFile], None] | None = None
) -> list[ExportedFile]:
    """Export the EMA generator of a checkpoint, once for each of `config.formats`.

    A file appears under its name only after it has been compared with PyTorch. An ONNX file becomes
    the latest export, which `wgan sample` takes.

    Args:
        config: the checkpoint, the formats and their options.
        on_file: called with each file once it is written.

    Returns:
        The files in the order of `config.formats`.

    Raises:
        RunError: there is no such run or checkpoint, or it is damaged.
        UsageError: options contradict each other.
        MissingExtra: PyTorch, onnx or onnxruntime is not installed.
        ExportError: the generator cannot be exported.
        ParityError: an export does not match PyTorch; the files before it are complete.
        OutputError: a file cannot be written.
    """
    which = which_checkpoint(config.checkpoint, [config.source] if config.source else [])
    # Paths first: a wrong one is reported at once, not after PyTorch has been imported.
    checkpoint_path = choose_checkpoint(config.source, which)
    paths = output_paths(config, checkpoint_path)
    with needs_extra("export", purpose="exporting"):
        from wgan.export.draft import export_checkpoint
        from wgan.training.checkpoint import Checkpoint, load_checkpoint
        from wgan.training.networks import load_architecture
    if config.source is not None and config.source.is_file():
        checkpoint = Checkpoint.load(config.source)
    else:
        checkpoint = load_checkpoint(Run(checkpoint_path.parent.parent), which)
    architecture = load_architecture(config.arch) if config.arch else None

    def write(path: Path, file_format: str = "onnx") -> Manifest:
        return export_checkpoint(checkpoint, config, path, file_format, architecture)

    exported = []
    for file_format, path in paths.items():
        if file_format == "triton":
            file = ExportedFile(*write_repository(path, checkpoint.step, write))
        else:
            file = ExportedFile(path, write(path, file_format))
        if file_format == "onnx":
            remember_export(path)
        exported.append(file)
        if on_file is not None:
            on_file(file)
    return exported
