"""Following a metric as a run goes: which checkpoint is the best so far.

Training knows nothing of metrics: whoever starts it hands in a judge. `wgan train --eval-every`
takes one from `wgan.evaluation`.
"""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol, Self

from wgan.files import write_whole
from wgan.runs import Run
from wgan.training.monitoring.previews import Draw

logger = logging.getLogger(__name__)


class Judge(Protocol):
    """Says how good a generator's images are. It draws no random numbers of PyTorch's."""

    @property
    def metric(self) -> str:
        """A figure's name in `Metrics`; lower is better."""

    @property
    def key(self) -> str:
        """A hash of all that the value depends on beside the generator."""

    def __call__(self, draw: Draw) -> float:
        """Judge the generator that `draw` draws with."""


@dataclass(frozen=True)
class Best:
    """The best value so far, and what it was measured with: kept beside its checkpoint."""

    step: int
    metric: str
    value: float
    key: str

    def save(self, run: Run) -> None:
        """Write it down. Raises OutputError."""
        write_whole(run.best_record, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, run: Run) -> Self | None:
        """What the run has written down; None where there is nothing, or it cannot be read."""
        if not run.best.is_file():
            return None
        try:
            fields = json.loads(run.best_record.read_text(encoding="utf-8"))
            return cls(
                int(fields["step"]), str(fields["metric"]), float(fields["value"]), fields["key"]
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            logger.warning("%s cannot be read: %s; the best is sought anew", run.best_record, exc)
            return None


class BestTracker:
    """Judges a run's generator now and then, and knows whether it was ever better."""

    def __init__(self, run: Run, judge: Judge, draw: Draw) -> None:
        self._run, self._judge, self._draw = run, judge, draw
        self._best: Best | None = None
        self._improved = False

    def open(self) -> None:
        """Take up the best of an earlier session, if it was measured in the same way."""
        found = Best.load(self._run)
        self._best = found if found and found.key == self._judge.key else None

    def measure(self, step: int) -> Mapping[str, float]:
        """Judge the generator as it is after `step`; returns the figure by its name."""
        value = self._judge(self._draw)
        is_value = math.isfinite(value)  # a NaN would stay the best for ever
        if not is_value:
            logger.warning(
                "the %s at step %d is %s: it is passed over", self._judge.metric, step, value
            )
        self._improved = is_value and (self._best is None or value < self._best.value)
        if self._improved:
            self._best = Best(step, self._judge.metric, value, self._judge.key)
        return {self._judge.metric: value}

    @property
    def best(self) -> Best | None:
        """The best so far; None before the first measurement."""
        return self._best

    @property
    def improved(self) -> bool:
        """Whether the last value is the best so far."""
        return self._improved

    def remember(self) -> None:
        """Write down the best, once its checkpoint stands. Raises OutputError."""
        assert self._best is not None, "measure comes first"
        self._best.save(self._run)
