"""Run folders: the paths of a run's files, and the latest run and export.

runs/<name>/config.json
runs/<name>/checkpoints/step-00002000.pt
runs/<name>/checkpoints/best.pt     copy of the best one, with --eval-every; metric in best.json
runs/<name>/previews/step-00002000.png
runs/<name>/reals.png   real images as the critic sees them
runs/<name>/metrics.jsonl
runs/<name>/curves.png
runs/<name>/generator.onnx
runs/latest           the path of the run trained last
runs/latest-export    the path of the ONNX file exported last
"""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import CheckpointError, ModelFileError, OutputError, RunError, UsageError
from wgan.files import is_file, make_folder, write_whole
from wgan.text import printable

logger = logging.getLogger(__name__)

RUNS = Path("runs")
"""The folder of runs, in the current folder."""

POINTERS = LATEST, LATEST_EXPORT = "latest", "latest-export"
"""Files in the folder of runs that hold the path of a run and of an ONNX file."""

_LONGEST_PATH = 4097
"""Bytes of the longest path of Linux, and a line break."""

_NAMES = frozenset({".lock", "config.json", "metrics.jsonl", "checkpoints", "previews"})
"""Files and folders of a run, of which any two may be missing."""

_STEP = re.compile(r"step-[0-9]+\.pt")


@dataclass(frozen=True)
class Run:
    """The folder of a run, which need not exist yet."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, JSON."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON line for each logged step."""
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """The plotted metrics, PNG."""
        return self.path / "curves.png"

    @property
    def reals(self) -> Path:
        """A sheet of real images, PNG."""
        return self.path / "reals.png"

    def checkpoint(self, step: int) -> Path:
        """Path of the checkpoint of `step`."""
        return self.path / "checkpoints" / f"step-{step:08d}.pt"

    @property
    def best(self) -> Path:
        """Path of the best checkpoint, in a run with --eval-every."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def best_record(self) -> Path:
        """Path of the best checkpoint's metric, JSON."""
        return self.path / "checkpoints" / "best.json"

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """Return the step of a path from `checkpoints`."""
        return int(checkpoint.stem.removeprefix("step-"))

    def preview(self, step: int) -> Path:
        """Path of the preview of `step`."""
        return self.path / "previews" / f"step-{step:08d}.png"

    def checkpoints(self) -> list[Path]:
        """Return the paths of all checkpoints, the newest last.

        Raises:
            RunError: the folder cannot be read.
        """
        try:  # not glob, which takes a folder without permission for an empty one
            found = list((self.path / "checkpoints").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            raise RunError(f"cannot read {self.path / 'checkpoints'}: {exc.strerror}") from exc
        # Sorted by number: names have more digits from step 100,000,000 on.
        return sorted((path for path in found if _STEP.fullmatch(path.name)), key=self.step_of)

    def newest_checkpoint(self) -> Path:
        """Return the path of the newest checkpoint.

        Raises:
            CheckpointError: there is none.
        """
        found = self.checkpoints()
        if not found:
            raise CheckpointError(
                f"the run {self.path} has no checkpoint yet: train it first, with"
                f"  wgan train --run {self.path}"
            )
        return found[-1]

    def find_checkpoint(self, which: str) -> Path:
        """Return the path of the checkpoint "latest", "best", or of a step's number.

        Raises:
            CheckpointError: there is no such checkpoint.
            UsageError: `which` is none of these.
        """
        if which == "latest":
            return self.newest_checkpoint()
        if which == "best":
            if not is_file(self.best):
                raise CheckpointError(
                    f"the run {self.path} has no best checkpoint, because it measured no metric:"
                    f" continue it with  wgan train --run {self.path} --eval-every 500 --steps N"
                )
            return self.best
        if not which.isdecimal() or len(which) > 20:  # Python converts no long numbers
            raise UsageError(
                f"--checkpoint {which} is not allowed: latest, best, or the number of a step"
            )
        path = self.checkpoint(int(which))
        if not is_file(path):
            found = ", ".join(str(self.step_of(each)) for each in self.checkpoints()) or "none"
            raise CheckpointError(
                f"the run {self.path} has no checkpoint of step {which}: it has {found}"
            )
        return path

    @property
    def has_begun(self) -> bool:
        """Whether it has settings or a checkpoint to resume from. Raises RunError."""
        return self.config.exists() or bool(self.checkpoints())

    def make(self) -> None:
        """Create the run's folders where they are missing. Raises OutputError."""
        make_folder(self.path / "checkpoints")
        make_folder(self.path / "previews")


def looks_like_run(names: Iterable[str]) -> bool:
    """Whether a folder with files and folders of these names is a run's.

    A run that has just begun has no settings yet, and users remove files and copy runs in part.
    """
    return len(_NAMES.intersection(names)) >= 3


def run_folders(files: Iterable[str]) -> list[str]:
    """Return the folders among relative POSIX paths of files that look like runs."""
    inside: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        parts = file.split("/")
        if not _NAMES.isdisjoint(parts):
            for depth, part in enumerate(parts[1:], 1):
                inside["/".join(parts[:depth])].add(part)
    return sorted(folder for folder, names in inside.items() if looks_like_run(names))


def find_run(path: Path) -> Run:
    """Return the run at `path`.

    Raises:
        RunError: there is none.
    """
    run = Run(path)
    if not is_file(run.config):
        raise RunError(f"{path} is not a run folder: it has no config.json")
    return run


def which_checkpoint(option: str | None, sources: Sequence[Path]) -> str:
    """Return the argument for `Run.find_checkpoint`: the user's option, or "latest".

    Args:
        option: the value of `--checkpoint`; None if it is not given.
        sources: the runs and files that the user gives; none is the latest run.

    Raises:
        UsageError: the option is given, and there is no run among the sources.
    """
    if option is not None and sources and all(map(is_file, map(follow_pointer, sources))):
        raise UsageError(
            f"--checkpoint {option} chooses a checkpoint of a run, and {sources[0]} is a file:"
            " leave it out, or give the run's folder"
        )
    return option or "latest"


def remember_run(run: Run) -> None:
    """Record `run` as the latest; a warning if that cannot be written."""
    _write_pointer(RUNS / LATEST, run.path)


def latest_run() -> Run:
    """Return the run trained last in this folder.

    Raises:
        RunError: there is none, or it is missing.
    """
    target = _read_pointer(RUNS / LATEST)
    if target is None:
        raise RunError(
            "no run was trained in this folder: run  wgan train  first, or name a run folder"
        )
    return find_run(target)


def remember_export(path: Path) -> None:
    """Record the ONNX file at `path` as the latest export; a warning if that cannot be written."""
    _write_pointer(RUNS / LATEST_EXPORT, path)


def latest_export() -> Path | None:
    """Return the ONNX file exported last in this folder, or None.

    Raises:
        ModelFileError: the file is missing.
    """
    target = _read_pointer(RUNS / LATEST_EXPORT)
    if target is None:
        return None
    if not is_file(target):
        raise ModelFileError(
            f"the latest export, {target}, is missing: name a file, or run  wgan export  again"
        )
    return target


def follow_pointer(path: Path) -> Path:
    """Return the run or file that `runs/latest` or `runs/latest-export` names, else `path`.

    Raises:
        RunError: the pointer cannot be read, or holds something else.
    """
    is_pointer = path.name in POINTERS and path.absolute().parent.name == RUNS.name
    target = _read_pointer(path) if is_pointer and is_file(path) else None
    return target or path


def has_runs() -> bool:
    """Whether a run was begun in this folder: it has a folder `runs` that is not empty."""
    return any(RUNS.glob("*"))  # nothing, and no error, if the folder cannot be read


def _write_pointer(pointer: Path, target: Path) -> None:
    """Write the path of `target` relative to the pointer, so that both can be moved together."""
    try:
        make_folder(pointer.parent)
        try:
            path = os.path.relpath(target, pointer.parent)
        except ValueError:  # another drive, on Windows
            path = str(target.absolute())
        write_whole(pointer, os.fsencode(Path(path).as_posix() + "\n"))
    except (OutputError, OSError) as exc:  # OSError: the working folder was removed
        # The pointer is a convenience: a read-only working folder must not cost a run.
        logger.warning("%s; later commands need the path %s", exc, printable(target))


def _read_pointer(pointer: Path) -> Path | None:
    """Return the path that a pointer holds; None if there is no pointer.

    Raises:
        RunError: it cannot be read, or holds something else.
    """
    try:
        with pointer.open("rb") as file:
            path = os.fsdecode(file.read(_LONGEST_PATH)).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise RunError(f"cannot read {pointer}: {exc.strerror}") from exc
    if not path or "\0" in path:
        raise RunError(f"{pointer} holds no path: name a run or a file, or remove {pointer}")
    return Path(os.path.normpath(pointer.parent / path))
