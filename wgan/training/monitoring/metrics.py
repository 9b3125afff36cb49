"""A run's metrics: one JSON line for each logged step, none twice and none missing."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wgan.errors import OutputError
from wgan.files import write_whole

NOT_FIGURES = frozenset({"step", "diagnosis"})
"""What stands in a line beside its figures."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The figures of one logged step; None is a figure that this step or this run has not.

    Scores, estimates and losses are in the critic's units, norms are Euclidean.
    """

    step: int
    seconds_per_step: float  # mean since the last logged step, saving and drawing included
    images_per_second: float  # real images that the critic saw
    wasserstein: float  # mean critic score of real minus of generated images
    learned_score: float | None = None  # mean critic score of images it trains on
    held_out_score: float | None = None  # and of images it never saw; None without --holdout
    held_out_wasserstein: float | None = None  # the estimate less the gap between those two
    gradient_penalty: float | None = None  # before its weight; None under another constraint
    critic_gradient_norm: float | None = None  # by its input, mean over the penalty's images
    critic_loss: float
    generator_loss: float
    critic_weights_gradient: float  # norm of the critic's gradient by all of its weights
    generator_weights_gradient: float  # and of the generator's
    memory_mib: float | None = None  # the most that the process has held so far
    device_memory_mib: float | None = None  # the most that tensors have held on the GPU so far
    diversity: float | None = None  # how much the seeds of a preview differ; 1: as the data does
    fid: float | None = None  # Fréchet distance to the data in feature space; lower is better
    kid: float | None = None  # kernel distance, times 1000; only the one that the run follows
    diagnosis: Mapping[str, str] = field(default_factory=dict)  # what was found here, in words


FIGURES = tuple(
    entry.name for entry in dataclasses.fields(Metrics) if entry.name not in NOT_FIGURES
)
"""The names of all figures, in the order of a line."""


def figures(metrics: Metrics) -> dict[str, float]:
    """The figures that a step has, by name; what trackers log."""
    values = ((name, getattr(metrics, name)) for name in FIGURES)
    return {name: value for name, value in values if value is not None}


def append_metrics(path: Path, metrics: Metrics) -> None:
    """Add a line; a figure that is not finite is null, since JSON has none. Raises OutputError."""
    line: dict[str, Any] = {"step": metrics.step}
    for name, value in figures(metrics).items():
        line[name] = value if math.isfinite(value) else None
    if metrics.diagnosis:
        line["diagnosis"] = dict(metrics.diagnosis)
    append_line(path, line)


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line and see it to the disk, in one write. Raises OutputError.

    A checkpoint that outlives a power cut must find the lines before it there.
    """
    try:
        with path.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def rewind_metrics(path: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines after `step`, and one that a crash cut off; returns those that stay."""
    if not path.exists():
        return []
    lines = [(line, _parse(line)) for line in path.read_bytes().splitlines(keepends=True)]
    kept = [(line, fields) for line, fields in lines if fields and fields["step"] <= step]
    write_whole(path, b"".join(line for line, _ in kept))
    return [fields for _, fields in kept]


def _parse(line: bytes) -> dict[str, Any] | None:
    """The fields of a whole line, else None."""
    try:
        fields = json.loads(line)
        whole = line.endswith(b"\n") and isinstance(fields["step"], int)
    except (ValueError, KeyError, TypeError):
        return None
    return fields if whole else None
