"""From a trained generator to a file that is proved to match PyTorch.

`export` does the work of `wgan export`: it finds a checkpoint and exports it in each format. Then
read `draft.py`. `formats` writes the files, `lowering` rewrites ONNX graphs, `parity` proves the
result. Exporting needs PyTorch, and ONNX files need onnx; both are imported when `export` runs.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from wgan.errors import CheckpointError, OutputError, UsageError, needs_extra
from wgan.export.config import ExportConfig, OptimizeConfig
from wgan.export.modules import export_module, export_named_module
from wgan.export.optimizing import optimize
from wgan.export.web_runtime import find_runtime
from wgan.files import check_keeps_inputs, check_output, is_file, is_folder, make_folder
from wgan.host import need_no_temporary_folder
from wgan.model_file import FORMATS
from wgan.model_file.manifest import Manifest
from wgan.runs import (
    POINTERS,
    RUNS,
    Run,
    find_run,
    follow_pointer,
    latest_run,
    remember_export,
    which_checkpoint,
)
from wgan.stop import check_stop

__all__ = ["ExportConfig", "ExportedFile", "OptimizeConfig", "export", "export_module", "optimize"]

logger = logging.getLogger(__name__)

EXPORTED = tuple(form.extension for form in FORMATS.values() if form.extension)
"""Extensions of exported files, which are not exported again."""


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

    `on_file` is called with each file once it is written.

    The logger `wgan.export` reports each stage at the level INFO.

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
    if config.module is not None:
        _check_runtime(config)
        return _export_module(config, on_file)
    source = None if config.source is None else follow_pointer(config.source)
    which = which_checkpoint(config.checkpoint, [source] if source else [])
    # Paths first: a wrong one is reported at once, not after PyTorch has been imported.
    checkpoint_path = choose_checkpoint(source, which)
    paths = output_paths(config, checkpoint_path)
    _check_runtime(config)
    logger.info("loading PyTorch and %s", checkpoint_path)
    need_no_temporary_folder()
    with needs_extra("export", purpose="exporting"):
        from wgan.export.draft import export_checkpoint
        from wgan.training.checkpoint import Checkpoint, load_checkpoint
        from wgan.training.networks import load_architecture
    check_stop()
    if source is not None and not is_folder(source):
        checkpoint = Checkpoint.load(source)
    else:
        checkpoint = load_checkpoint(Run(checkpoint_path.parent.parent), which)
    architecture = load_architecture(config.arch) if config.arch else None

    def write(path: Path, file_format: str = "onnx") -> Manifest:
        return export_checkpoint(checkpoint, config, path, file_format, architecture)

    return _write_each(config, paths, checkpoint.step, write, on_file)


def _check_runtime(config: ExportConfig) -> None:
    """Look for what a page draws with, before the work. Raises UsageError if it is missing."""
    if "web" in config.formats:
        find_runtime(config.runtime, config.precision)


def _export_module(
    config: ExportConfig, on_file: Callable[[ExportedFile], None] | None
) -> list[ExportedFile]:
    """Export another project's generator, into the current folder unless it says otherwise."""
    if "triton" in config.formats:
        raise UsageError(
            "--module has no --format triton, whose versions are training steps: serve the ONNX"
            " file with  wgan serve"
        )

    def write(path: Path, file_format: str = "onnx") -> Manifest:
        return export_named_module(config, path, file_format)

    return _write_each(config, output_paths(config, None), None, write, on_file)


def _write_each(
    config: ExportConfig,
    paths: dict[str, Path],
    step: int | None,
    write: Callable[..., Manifest],
    on_file: Callable[[ExportedFile], None] | None,
) -> list[ExportedFile]:
    """Write the export to the path of each format; `write` takes a path and a file's format."""
    exported = []
    for file_format, path in paths.items():
        if FORMATS[file_format].extension:
            file = ExportedFile(path, write(path, file_format))
        else:
            with needs_extra("export", purpose="exporting"):
                module = import_module(f"wgan.export.formats.{file_format}")
            file = ExportedFile(*module.write_folder(path, step, config, write))
        if file_format == "onnx":
            remember_export(file.path)
        exported.append(file)
        if on_file is not None:
            on_file(file)
    return exported


def choose_checkpoint(source: Path | None, which: str = "latest") -> Path:
    """Return the checkpoint at `source`, or one of the run at `source` or of the latest run.

    `which` names a checkpoint of a run, as for `Run.find_checkpoint`.

    Raises:
        RunError: there is no such run.
        CheckpointError: there is no such checkpoint, or the run has none.
        UsageError: `which` does not name a checkpoint.
    """
    if source is None:
        return latest_run().find_checkpoint(which)
    if is_folder(source):
        return find_run(source).find_checkpoint(which)
    if not is_file(source):
        if str(source) == "builtin":
            raise CheckpointError(
                "builtin is an exported file already, which  wgan sample --model builtin  uses:"
                " export a run or a checkpoint"
            )
        raise CheckpointError(
            f"there is no run or checkpoint {source}: name a run's folder or a .pt file in its"
            " checkpoints"
        )
    if source.suffix in EXPORTED:
        raise CheckpointError(
            f"{source} is an exported file, and other formats are made from a run, a checkpoint, or"
            " a PyTorch module with --module; of one ONNX file  wgan optimize  makes another"
        )
    return source


def _input_files(config: ExportConfig, checkpoint: Path | None) -> list[tuple[str, Path]]:
    """The files that an export reads, and those of its run, for `check_keeps_inputs`."""
    found = [*config.input_files, *(("the pointer", RUNS / name) for name in POINTERS)]
    if config.weights is not None:
        file, _, _ = config.weights.rpartition(":")  # of FILE:KEY
        found += [("the weights", Path(file)), ("the weights", Path(config.weights))]
    if checkpoint is not None:
        found.append(("the checkpoint", checkpoint))
        if checkpoint.parent.name == "checkpoints":
            run = Run(checkpoint.parent.parent)
            files = (run.config, run.metrics, run.curves, run.reals)
            found += [("a file of the run,", path) for path in files]
            found += [("the checkpoint", path) for path in (*run.checkpoints(), run.best)]
    return found


def output_paths(config: ExportConfig, checkpoint: Path | None) -> dict[str, Path]:
    """Return the path of each format: a file, or the folder of a Triton repository or a page.

    By default files go into the checkpoint's run, or beside a checkpoint that is in no run, or
    without one into the current folder. An output folder that ends in / is made if it is missing.

    Raises:
        UsageError: one file is named for several formats, or a file that the export reads.
        OutputError: a path cannot be written.
    """
    formats = tuple(dict.fromkeys(config.formats))
    folders = [name for name in formats if not FORMATS[name].extension]
    output = Path(config.output or (checkpoint.parent if checkpoint else "."))
    if config.output and len(formats) == len(folders) == 1:
        if is_file(output) or not is_folder(output.parent):
            raise OutputError(
                f"cannot write {output}: {FORMATS[formats[0]].label} is a folder in an existing"
                " folder"
            )
        return {formats[0]: output}
    if config.output is None and output.name == "checkpoints":
        output = output.parent
    if config.output and config.output.endswith(("/", os.sep)):
        make_folder(output)
    if config.output is None or is_folder(output):
        names = {name: name if name in folders else config.filename(name) for name in formats}
        paths = {name: output / file for name, file in names.items()}
        if config.output and "triton" in folders:  # the folder itself is the repository
            paths["triton"] = output
    elif len(formats) > 1:
        raise UsageError(f"--output {output} is one file for {len(formats)} formats: name a folder")
    else:
        paths = {formats[0]: output}
    inputs = _input_files(config, checkpoint)
    for name in formats:
        if name not in folders:
            check_output(paths[name])
            check_keeps_inputs(paths[name], inputs, "give another --output")
    return paths
