"""Run folders: where a run keeps its files, and which run and export are the latest.

runs/<name>/config.json
runs/<name>/checkpoints/step-00002000.pt
runs/<name>/checkpoints/best.pt     a copy of the best one, with --eval-every; best.json says why
runs/<name>/previews/step-00002000.png
runs/<name>/metrics.jsonl
runs/<name>/curves.png
runs/<name>/generator.onnx
runs/latest           names the run trained last
runs/latest-export    names the ONNX file exported last
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import CheckpointError, ModelFileError, RunError, UsageError
from wgan.files import make_folder, write_whole

RUNS = Path("runs")
"""The folder of runs, in the folder where the command is given."""

_STEP = re.compile(r"step-[0-9]+\.pt")


@dataclass(frozen=True)
class Run:
    """One run's folder, there or not yet."""

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
        """An image of the metrics, PNG."""
        return self.path / "curves.png"

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of `step` stands."""
        return self.path / "checkpoints" / f"step-{step:08d}.pt"

    @property
    def best(self) -> Path:
        """Where the best checkpoint stands, in a run that follows a metric."""
        return self.path / "checkpoints" / "best.pt"

    @property
    def best_record(self) -> Path:
        """Why it is the best, JSON."""
        return self.path / "checkpoints" / "best.json"

    @staticmethod
    def step_of(checkpoint: Path) -> int:
        """The step that a path from `checkpoints` names."""
        return int(checkpoint.stem.removeprefix("step-"))

    def preview(self, step: int) -> Path:
        """Where the preview of `step` stands."""
        return self.path / "previews" / f"step-{step:08d}.png"

    def checkpoints(self) -> list[Path]:
        """All checkpoints, the newest last."""
        found = (self.path / "checkpoints").glob("step-*.pt")
        # By number: from a hundred million steps on, names are longer.
        return sorted((path for path in found if _STEP.fullmatch(path.name)), key=self.step_of)

    def newest_checkpoint(self) -> Path:
        """The checkpoint that stands last.

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
        """The checkpoint called "latest", "best", or by its step's number.

        Raises:
            CheckpointError: there is none.
            UsageError: `which` is something else.
        """
        if which == "latest":
            return self.newest_checkpoint()
        if which == "best":
            return self._best_checkpoint()
        if not which.isdecimal():
            raise UsageError(f"--checkpoint {which} is not latest, best, or the number of a step")
        path = self.checkpoint(int(which))
        if not path.is_file():
            there = ", ".join(str(self.step_of(each)) for each in self.checkpoints()) or "none"
            raise CheckpointError(
                f"the run {self.path} has no checkpoint of step {which}: it has {there}"
            )
        return path

    def _best_checkpoint(self) -> Path:
        if not self.best.is_file():
            raise CheckpointError(
                f"the run {self.path} has no best checkpoint, since it followed no metric: train it"
                f" on with  wgan train --run {self.path} --eval-every 500 --steps N"
            )
        return self.best

    def make(self) -> None:
        """Make the run's folders, unless they are there. Raises OutputError."""
        make_folder(self.path / "checkpoints")
        make_folder(self.path / "previews")


def find_run(path: Path) -> Run:
    """The run at `path`.

    Raises:
        RunError: there is none.
    """
    run = Run(path)
    if not run.config.is_file():
        raise RunError(f"{path} is not a run folder: it has no config.json")
    return run


def which_checkpoint(asked: str | None, sources: Sequence[Path]) -> str:
    """What `Run.find_checkpoint` is asked for: what the user asks, or "latest".

    Args:
        asked: the option `--checkpoint`; None where it is not given.
        sources: what the user names; nothing is the latest run.

    Raises:
        UsageError: a checkpoint is asked for, and there is no run among the sources.
    """
    if asked is not None and sources and all(source.is_file() for source in sources):
        raise UsageError(
            f"--checkpoint {asked} chooses among those of a run, and {sources[0]} is a file: leave"
            " it out, or name the run's folder"
        )
    return asked or "latest"


def remember_run(run: Run) -> None:
    """Make `run` the latest. Raises OutputError."""
    _point(RUNS / "latest", run.path)


def latest_run() -> Run:
    """The run trained last in this folder.

    Raises:
        RunError: there is none, or it is gone.
    """
    target = _follow(RUNS / "latest")
    if target is None:
        raise RunError(
            "no run was trained in this folder: run  wgan train  first, or name a run folder"
        )
    return find_run(target)


def remember_export(path: Path) -> None:
    """Make the ONNX file at `path` the latest export. Raises OutputError."""
    _point(RUNS / "latest-export", path)


def latest_export() -> Path | None:
    """The ONNX file exported last in this folder, None where there was none.

    Raises:
        ModelFileError: it is gone.
    """
    target = _follow(RUNS / "latest-export")
    if target is None:
        return None
    if not target.is_file():
        raise ModelFileError(f"the latest export, {target}, is gone: name a file with --model")
    return target


def _point(pointer: Path, target: Path) -> None:
    """Write the place of `target` as seen from the pointer's folder, so that it can be moved."""
    make_folder(pointer.parent)
    try:
        place = os.path.relpath(target, pointer.parent)
    except ValueError:  # another drive, on Windows
        place = str(target.absolute())
    write_whole(pointer, (Path(place).as_posix() + "\n").encode())


def _follow(pointer: Path) -> Path | None:
    try:
        place = pointer.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return Path(os.path.normpath(pointer.parent / place))
