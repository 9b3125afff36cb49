"""History of a run's metrics: a JSON line per logged step, and columns of numbers in memory."""

import dataclasses
import json
import math
import os
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import OutputError
from wgan.files import write_whole

Column = npt.NDArray[np.float64]
"""One metric at each logged step; NaN where the step does not have it."""


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """The metrics of a logged step; None for a metric that this step or this run does not have.

    Scores, estimates and losses are in the critic's units, norms are Euclidean.
    """

    step: int
    seconds_per_step: float  # mean since the last logged step, saving and previews included
    images_per_second: float  # real images that the critic saw
    wasserstein: float  # mean critic score of real minus generated images
    train_score: float | None = None  # mean critic score of training images
    held_out_score: float | None = None  # the same of held-out images; None without --holdout
    held_out_wasserstein: float | None = None  # the estimate less the gap between those two
    gradient_penalty: float | None = None  # before its weight; None under another constraint
    critic_gradient_norm: float | None = None  # with respect to its input, mean over the images
    critic_loss: float
    generator_loss: float
    critic_weights_gradient: float  # norm of the gradient with respect to all critic weights
    generator_weights_gradient: float  # the same of the generator
    memory_mib: float | None = None  # peak memory of the process
    device_memory_mib: float | None = None  # peak memory of tensors on the GPU
    diversity: float | None = None  # spread of a preview's images as a share of the data's
    novelty: float | None = None  # a preview's distance to the nearest real images: see diagnosis
    fid: float | None = None  # Fréchet distance to the data in feature space; lower is better
    kid: float | None = None  # kernel distance, times 1000; fid or kid, as --eval-metric says
    diagnosis: Mapping[str, str] = field(default_factory=dict)  # new findings, name -> message


NUMERIC_METRICS = tuple(
    entry.name
    for entry in dataclasses.fields(StepMetrics)
    if entry.name not in ("step", "diagnosis")
)
"""Names of all numeric metrics, in the order of a line."""

RECENT = 20
"""Logged steps whose mean time is that of a step now."""

RENAMED = {"learned_score": "train_score"}
"""Names in the files of wgan 0.1.0 -> names today."""


def numeric_metrics(metrics: StepMetrics) -> dict[str, float]:
    """Return the numbers that a step has, by name: what trackers log."""
    values = ((name, getattr(metrics, name)) for name in NUMERIC_METRICS)
    return {name: value for name, value in values if value is not None}


def append_metrics(path: Path, metrics: StepMetrics, begin: int | None = None) -> int:
    """Append a line; return where it begins. A number that is not finite becomes null in JSON.

    Args:
        path: metrics.jsonl.
        metrics: the line's values.
        begin: where the last line begins, which holds a part of these values and is replaced.

    Raises:
        OutputError: the line cannot be written.
    """
    line: dict[str, Any] = {"step": metrics.step}
    for name, value in numeric_metrics(metrics).items():
        line[name] = value if math.isfinite(value) else None
    if metrics.diagnosis:
        line["diagnosis"] = dict(metrics.diagnosis)
    return append_line(path, line, begin)


def append_line(path: Path, line: Mapping[str, Any], begin: int | None = None) -> int:
    """Append a JSON line in one write and flush it to the disk; return where it begins.

    The flush keeps the order: a checkpoint that survives a power cut finds its lines there. With
    `begin` the line takes the place of a shorter one, the last: no kill can leave neither.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with path.open("ab" if begin is None else "r+b") as file:
            begin = file.seek(0, os.SEEK_END) if begin is None else file.seek(begin)
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            return begin
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def rewind_metrics(path: Path, step: int) -> list[dict[str, Any]]:
    """Remove the lines after `step` and any damaged line; return the lines that remain.

    Raises:
        OutputError: the file cannot be read or written.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise OutputError(f"cannot read {path}: {exc.strerror}") from exc
    lines = [(line, _parse(line)) for line in content.splitlines(keepends=True)]
    # A resumed run repeats the steps after its checkpoint, and a kill can cut off the last line.
    kept = [(line, fields) for line, fields in lines if fields and fields["step"] <= step]
    write_whole(path, b"".join(line for line, _ in kept))
    return [fields for _, fields in kept]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the fields of a complete line, under today's names; None for a damaged one."""
    try:
        fields = {RENAMED.get(name, name): value for name, value in json.loads(line).items()}
        for name in fields.keys() & NUMERIC_METRICS:
            if fields[name] is not None:
                fields[name] = float(fields[name])
        dict.fromkeys(fields.get("diagnosis", {}))
        is_complete = line.endswith(b"\n") and type(fields["step"]) is int
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return fields if is_complete and 0 <= fields["step"] < 2**63 else None


class History:
    """Every logged metric of a run as a column, NaN where a step does not have it.

    A run of a week logs some 100,000 lines: 12 MB as columns, half a gigabyte as objects.
    """

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        """Start from the lines that `rewind_metrics` returned."""
        self._steps = array("q")
        self._columns = {name: array("d") for name in NUMERIC_METRICS}
        self.diagnosed: dict[str, int] = {}
        """Findings so far: name -> the step of the diagnosis."""
        for line in lines:
            self._add(line["step"], line)
            self.diagnosed.update(dict.fromkeys(line.get("diagnosis", {}), line["step"]))

    def add(self, metrics: StepMetrics) -> None:
        """Add a logged step."""
        self._add(metrics.step, numeric_metrics(metrics))

    def _add(self, step: int, values: Mapping[str, Any]) -> None:
        self._steps.append(step)
        for name, column in self._columns.items():
            value = values.get(name)
            column.append(float("nan") if value is None else value)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def seconds(self) -> float:
        """Seconds that all steps up to the last logged one took."""
        taken = np.diff(self.steps, prepend=0)
        return float(np.nansum(taken * self.column("seconds_per_step")))

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of a step over the last logged ones."""
        return float(np.nanmean(self.column("seconds_per_step", RECENT)))

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """The logged steps, in order."""
        return np.array(self._steps, dtype=np.int64)

    def column(self, name: str, last: int | None = None) -> Column:
        """Return a metric at each of `steps`, or at the `last` n of them."""
        column = self._columns[name]
        return np.array(column if last is None else column[-last:], dtype=np.float64)
