"""The best checkpoint of a run, by a metric that is measured while it trains.

Training does not compute metrics itself: the caller passes an `Evaluator`, as
`wgan train --eval-every` does with one from `wgan.evaluation`.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from wgan.files import write_whole
from wgan.runs import Run
from wgan.training.monitoring.previews import GenerateFn

logger = logging.getLogger(__name__)


class Evaluator(Protocol):
    """A metric of a generator's images. It uses no random numbers of PyTorch's."""

    metric: str
    """The metric's name in `StepMetrics`; lower is better."""
    key: str
    """A hash of everything besides the generator that the value depends on."""

    def __call__(self, generate: GenerateFn) -> float:
        """Measure the generator behind `generate`."""


@dataclass(frozen=True)
class Best:
    """The best value so far and how it was measured, stored beside its checkpoint."""

    step: int
    metric: str
    value: float
    key: str  # `Evaluator.key`

    @classmethod
    def load(cls, run: Run) -> Self | None:
        """Read the run's record; None if there is none, or none that can be read."""
        if not run.best.is_file():
            return None
        try:
            fields = json.loads(run.best_record.read_text(encoding="utf-8"))
            step, value = int(fields["step"]), float(fields["value"])
            return cls(step, str(fields["metric"]), value, str(fields["key"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
            message = "%s cannot be read: %s; the search for the best checkpoint starts again"
            logger.warning(message, run.best_record, exc)
            return None


class BestTracker:
    """Measures the generator and keeps the best value.

    Attributes:
        best: the best so far; None before the first measurement.
        improved: whether the last value is the best so far.
    """

    def __init__(self, run: Run, evaluator: Evaluator, generate: GenerateFn) -> None:
        self._run, self._evaluator, self._generate = run, evaluator, generate
        self.best: Best | None = None
        self.improved = False

    def open(self) -> None:
        """Load the best of an earlier session, if it was measured in the same way."""
        found = Best.load(self._run)
        self.best = found if found and found.key == self._evaluator.key else None

    def measure(self, step: int) -> Mapping[str, float]:
        """Measure the generator after `step`; return the value by its metric's name."""
        metric = self._evaluator.metric
        value = self._evaluator(self._generate)
        is_finite = math.isfinite(value)  # nothing is less than NaN: it would stay the best
        if not is_finite:
            logger.warning("the %s at step %d is %s and is ignored", metric, step, value)
        self.improved = is_finite and (self.best is None or value < self.best.value)
        if self.improved:
            self.best = Best(step, metric, value, self._evaluator.key)
        return {metric: value}

    def save_record(self) -> None:
        """Write the record of the best, after its checkpoint. Raises OutputError."""
        assert self.best is not None, "call measure first"
        text = json.dumps(asdict(self.best), indent=2) + "\n"
        write_whole(self._run.best_record, text.encode())
