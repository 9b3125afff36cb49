"""Results of an evaluation: values, confidence intervals, a table and JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wgan.errors import needs_extra
from wgan.evaluation.config import METRICS, EvalConfig
from wgan.evaluation.features import Features
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.neighbours import Neighbours
from wgan.evaluation.statistics import FeatureStatistics

CONFIDENCE = 0.95
"""Level of a confidence interval."""

SCIENTIFIC_FROM = 1e6
"""Larger values are shown in scientific notation."""


@dataclass(frozen=True)
class Interval:
    """A mean over repeats, and half the width of its confidence interval, None for one repeat."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Compute Student's t interval of the mean."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None)
        with needs_extra("eval", purpose="confidence intervals"):
            from scipy.stats import t
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
        return cls(mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values)))

    def to_dict(self) -> dict[str, float | None]:
        """Return the fields as JSON takes them."""
        return {"mean": self.mean, "half_interval": self.half}

    def text(self, digits: int, sign: str = "") -> str:
        """Format as `12.31 ± 0.10`."""
        mean = _number(self.mean, digits, sign)
        return mean if self.half is None else f"{mean} ± {_number(self.half, digits)}"


def _number(value: float, digits: int, sign: str = "") -> str:
    is_short = abs(value) < SCIENTIFIC_FROM
    return f"{value:{sign}.{digits}f}" if is_short else f"{value:{sign}.4g}"


@dataclass(frozen=True)
class EvalResult:
    """The values of a generator."""

    generator: EvaluatedGenerator
    values: dict[str, list[float]]  # metric -> a value for each repeat
    classes: dict[str, dict[str, float]] = field(default_factory=dict)  # class -> metric -> value

    def interval(self, metric: str) -> Interval:
        """The mean of a metric."""
        return Interval.of(self.values[metric])

    def difference(self, metric: str, other: "EvalResult") -> Interval:
        """The mean difference to `other`, paired by repeat: both generated the same seeds."""
        pairs = zip(self.values[metric], other.values[metric], strict=True)
        return Interval.of([mine - theirs for mine, theirs in pairs])


@dataclass(frozen=True)
class Evaluation:
    """All results, and what they were measured with."""

    config: EvalConfig
    results: list[EvalResult]  # in the order of the generators
    features: Features
    reference: FeatureStatistics
    data: str  # the real images, as the user or the run names them
    data_sha256: str
    skipped: Sequence[tuple[str, str]]  # damaged real images: label and reason
    neighbours: Neighbours | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that were measured, in the order of the table."""
        return tuple(self.results[0].values)

    def headline(self) -> str:
        """Return what was compared with what, in a line."""
        config = self.config
        return (
            f"{self.reference.count:,} real images of {self.data}; {config.n:,} generated from"
            f" seed {config.seed} on, {config.repeats} time{'s' * (config.repeats > 1)}; features:"
            f" {self.features.name}, {len(self.reference.moments.mean):,} numbers"
        )

    def table(self) -> list[str]:
        """Return lines: the generators by number, then a row for each metric and generator.

        A row ends with the difference to the first generator. With repeats, each number is a mean
        and half of its 95 % interval.
        """
        # Metric (on its first row), generator's number, value, difference.
        rows = [("", "", "", "- (1)")] if len(self.results) > 1 else []
        for name in self.metrics:
            metric = METRICS[name]
            label, difference = f"{metric.label} ({metric.better} is better)", ""
            for number, result in enumerate(self.results, 1):
                if number > 1:
                    more = result.difference(name, self.results[0])
                    label, difference = "", more.text(metric.digits, sign="+")
                value = result.interval(name).text(metric.digits)
                rows.append((label, f"({number})", value, difference))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        titles = []
        for number, result in enumerate(self.results, 1):
            step = result.generator.step
            suffix = "" if step is None else f", step {step:,}"
            titles.append(f"({number}) {result.generator.name}{suffix}")
        return [*titles, "", *(_line(row, widths) for row in rows), *self._class_table()]

    def _class_table(self) -> list[str]:
        """Return lines with a row for each class and generator, a column for each metric."""
        rows = [("class", "", *(METRICS[name].label for name in self.metrics))]
        for name in dict.fromkeys(name for result in self.results for name in result.classes):
            for number, result in enumerate(self.results, 1):
                if name in result.classes:
                    found = result.classes[name]
                    shown = (_number(found[each], METRICS[each].digits) for each in self.metrics)
                    rows.append((name, f"({number})", *shown))
        if len(rows) == 1:
            return []
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["", *(_line(row, widths) for row in rows)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything that was measured, as JSON takes it; `kid` is times 1000."""
        return {
            "features": self.features.name,
            "features_key": self.features.key,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "data_images": self.reference.count,
            "n": self.config.n,
            "repeats": self.config.repeats,
            "first_seed": self.config.seed,
            "results": [
                {
                    "name": result.generator.name,
                    "step": result.generator.step,
                    "weights_sha256": result.generator.weights_sha256,
                    "metrics": {
                        name: {
                            "label": METRICS[name].label,
                            "values": values,
                            **result.interval(name).to_dict(),
                            "more_than_first": result.difference(name, self.results[0]).to_dict(),
                        }
                        for name, values in result.values.items()
                    },
                    **({"classes": result.classes} if result.classes else {}),
                }
                for result in self.results
            ],
        }


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(row, widths, strict=True)
    cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "   ".join(cells).rstrip()
