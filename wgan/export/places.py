"""Which checkpoint is exported, and where its exports stand."""

from collections.abc import Sequence
from pathlib import Path

from wgan.errors import CheckpointError, OutputError, UsageError
from wgan.runs import Run, find_run, latest_run, remember_export

ENDINGS = {"onnx": ".onnx", "torchscript": ".ts"}
"""Each format's file ending."""


def choose_checkpoint(source: Path | None) -> Path:
    """The checkpoint at `source`, or the newest of the run there, or of the latest run.

    Raises:
        RunError: there is no such run.
        CheckpointError: there is no such checkpoint, or the run has none.
    """
    if source is None:
        return latest_run().newest_checkpoint()
    if source.is_dir():
        return find_run(source).newest_checkpoint()
    if not source.is_file():
        raise CheckpointError(
            f"there is no run or checkpoint {source}: name a run's folder or a .pt file in its"
            " checkpoints"
        )
    return source


def choose_places(formats: Sequence[str], output: Path | None, checkpoint: Path) -> dict[str, Path]:
    """Where each format's file goes: as `output` says, or into the checkpoint's run.

    A checkpoint outside of a run gets its exports beside it. `output` is a file or a folder.

    Raises:
        UsageError: one file is named for several formats.
        OutputError: the folder of `output` is not there.
    """
    if output is None:
        in_a_run = checkpoint.parent.name == "checkpoints"
        home = Run(checkpoint.parent.parent if in_a_run else checkpoint.parent)
        return {kind: home.export(ENDINGS[kind]) for kind in formats}
    if output.is_dir():
        return {kind: Run(output).export(ENDINGS[kind]) for kind in formats}
    if len(set(formats)) > 1:
        raise UsageError(f"--output {output} is one file for {len(formats)} formats: name a folder")
    if not output.parent.is_dir():
        raise OutputError(f"cannot write {output}: the folder {output.parent} does not exist")
    return {formats[0]: output}


def remember(kind: str, path: Path) -> None:
    """Make an ONNX export the one that `wgan sample` takes. Raises OutputError."""
    if kind == "onnx":
        remember_export(path)
