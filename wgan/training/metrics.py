"""A run's metrics: one JSON line for each logged step, none twice and none missing."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import OutputError, TrainingDiverged
from wgan.files import write_whole
from wgan.training.holdout import Scores
from wgan.training.loop import Step


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The figures of one logged step; losses in the critic's units, time in seconds."""

    step: int
    seconds_per_step: float  # mean since the last logged step, saving and drawing included
    images_per_second: float  # real images that the critic saw
    wasserstein: float  # mean critic score of real minus generated images
    gradient_penalty: float  # before its weight
    critic_gradient_norm: float  # mean over images between real and generated ones
    critic_loss: float
    generator_loss: float
    learned_score: float | None = None  # mean critic score of pictures it trains on
    held_out_score: float | None = None  # and of pictures it never saw; None without --holdout


def read_metrics(
    step: Step, seconds_per_step: float, images_per_step: int, scores: Scores | None = None
) -> Metrics:
    """Fetch a step's values from the device, which waits for it.

    Raises:
        TrainingDiverged: a value is not finite; the message names it and the step.
    """
    metrics = Metrics(
        step=step.number,
        seconds_per_step=seconds_per_step,
        images_per_second=images_per_step / seconds_per_step,
        wasserstein=float(step.critic.wasserstein),
        gradient_penalty=float(step.critic.gradient_penalty),
        critic_gradient_norm=float(step.critic.gradient_norm),
        critic_loss=float(step.critic.loss),
        generator_loss=float(step.generator_loss),
        learned_score=scores.learned if scores else None,
        held_out_score=scores.held_out if scores else None,
    )
    for name, value in dataclasses.asdict(metrics).items():
        if value is not None and not math.isfinite(value):
            raise TrainingDiverged(
                f"training diverged: at step {step.number} {name} is {value}; the last checkpoint"
                " is kept. Lower --learning-rate, or look at the data"
            )
    return metrics


def append_metrics(path: Path, metrics: Metrics) -> None:
    """Add a line, without the fields that are None. Raises OutputError."""
    everything = dataclasses.asdict(metrics).items()
    fields = {name: value for name, value in everything if value is not None}
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror}") from exc


def rewind_metrics(path: Path, step: int) -> None:
    """Drop the lines after `step`, and a line that a crash cut off, before a run goes on there."""
    if not path.exists():
        return
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if _is_up_to(line, step)]
    write_whole(path, b"".join(kept))


def _is_up_to(line: bytes, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False
