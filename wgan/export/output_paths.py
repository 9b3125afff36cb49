"""Which checkpoint is exported, and where its exports stand."""

from collections.abc import Sequence
from pathlib import Path

from wgan.errors import CheckpointError, OutputError, UsageError
from wgan.export.config import ExportConfig
from wgan.files import check_parent_folder
from wgan.runs import find_run, latest_run


def choose_checkpoint(source: Path | None, which: str = "latest") -> Path:
    """The checkpoint at `source`, or one of the run there, or of the latest run.

    `which` is as for `Run.find_checkpoint`; it has no say where `source` is a file.

    Raises:
        RunError: there is no such run.
        CheckpointError: there is no such checkpoint, or the run has none.
        UsageError: `which` is not one of a run's.
    """
    if source is None:
        return latest_run().find_checkpoint(which)
    if source.is_dir():
        return find_run(source).find_checkpoint(which)
    if not source.is_file():
        raise CheckpointError(
            f"there is no run or checkpoint {source}: name a run's folder or a .pt file in its"
            " checkpoints"
        )
    return source


def choose_places(
    configs: Sequence[ExportConfig], output: Path | None, checkpoint: Path
) -> list[Path]:
    """Where each export goes: as `output` says, or into the checkpoint's run.

    A checkpoint outside of a run gets its exports beside it. `output` is a file or a folder.

    Raises:
        UsageError: one file is named for several exports.
        OutputError: the folder of `output` is not there.
    """
    if output is None:
        output = _home(checkpoint)
    if output.is_dir():
        return [output / config.filename for config in configs]
    if len(configs) > 1:
        raise UsageError(f"--output {output} is one file for {len(configs)} formats: name a folder")
    check_parent_folder(output)
    return [output]


def choose_repository(output: Path | None, checkpoint: Path) -> Path:
    """Where a model repository goes: the folder `output`, or `triton` in the checkpoint's run.

    Raises:
        OutputError: `output` cannot be a folder.
    """
    if output is None:
        return _home(checkpoint) / "triton"
    if output.is_file() or not output.parent.is_dir():
        raise OutputError(f"cannot write {output}: a model repository is a folder, in one that is")
    return output


def _home(checkpoint: Path) -> Path:
    """The checkpoint's run, or its folder when it stands outside of one."""
    return (
        checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    )
