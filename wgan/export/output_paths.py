"""The paths of an export: the checkpoint that it reads and the files that it writes."""

import os
from pathlib import Path

from wgan.errors import CheckpointError, OutputError, UsageError
from wgan.export.config import ExportConfig
from wgan.files import check_parent_folder, make_folder
from wgan.runs import find_run, latest_run


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
    if source.is_dir():
        return find_run(source).find_checkpoint(which)
    if not source.is_file():
        raise CheckpointError(
            f"there is no run or checkpoint {source}: name a run's folder or a .pt file in its"
            " checkpoints"
        )
    return source


def output_paths(config: ExportConfig, checkpoint: Path) -> dict[str, Path]:
    """Return the path of each format: a file, or the folder of a Triton model repository.

    By default files go into the checkpoint's run, or beside a checkpoint that is in no run. An
    output folder that ends in / is made if it does not exist.

    Raises:
        UsageError: one file is named for several formats.
        OutputError: a path cannot be written.
    """
    formats = tuple(dict.fromkeys(config.formats))
    if config.output is None:
        folder = checkpoint.parent
        folder = folder.parent if folder.name == "checkpoints" else folder
        return {
            name: folder / ("triton" if name == "triton" else config.filename(name))
            for name in formats
        }
    output = Path(config.output)
    if formats == ("triton",):
        if output.is_file() or not output.parent.is_dir():
            raise OutputError(
                f"cannot write {output}: a model repository is a folder in an existing folder"
            )
        return {"triton": output}
    if config.output.endswith(("/", os.sep)):
        make_folder(output)
    if output.is_dir():
        return {
            name: output if name == "triton" else output / config.filename(name) for name in formats
        }
    if len(formats) > 1:
        raise UsageError(f"--output {output} is one file for {len(formats)} formats: name a folder")
    check_parent_folder(output)
    return {formats[0]: output}
