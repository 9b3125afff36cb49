"""Generators against data: every metric, over several ranges of seeds, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, UsageError
from wgan.evaluation.feature_statistics import Advance, Summary, summarise
from wgan.evaluation.features import Features
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.manifold import ROBUST_K, density_coverage, precision_recall
from wgan.evaluation.metrics import SPLITS, fid, kid
from wgan.extras import needs_extra
from wgan.latents import SEED_LIMIT, check_seed

LEAST = max(SPLITS, ROBUST_K + 1)
"""Fewer samples than this have no Inception Score and no neighbours."""

CONFIDENCE = 0.95
"""Of an interval."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown, and which of two values is better."""

    label: str
    better: Literal["lower", "higher"]
    digits: int  # after the point


METRICS = {
    "fid": Metric("FID", "lower", 3),
    "kid": Metric("KID x1000", "lower", 3),  # the field's tables are in thousandths
    "is": Metric("IS", "higher", 3),
    "precision": Metric("precision", "higher", 4),
    "recall": Metric("recall", "higher", 4),
    "density": Metric("density", "higher", 4),
    "coverage": Metric("coverage", "higher", 4),
}
"""By the name on the command line, in the order of a table."""

Values = dict[str, float]
"""Metric -> value."""


def parse_metrics(text: str) -> tuple[str, ...]:
    """Read `"fid,kid"`, into the table's order.

    Raises:
        UsageError: one is not known.
    """
    asked = {part.strip().lower() for part in text.split(",")}
    for name in sorted(asked - METRICS.keys()):
        raise UsageError(f"--metrics {name or repr(text)} is not one of {', '.join(METRICS)}")
    return tuple(name for name in METRICS if name in asked)


def choose_metrics(asked: Sequence[str] | None, features: Features) -> tuple[str, ...]:
    """What was asked for, as `parse_metrics` gave it; None is all that the features allow.

    Raises:
        UsageError: one needs logits that the features have not.
    """
    if asked is None:
        return tuple(name for name in METRICS if name != "is" or features.has_logits)
    if "is" in asked and not features.has_logits:
        raise UsageError(
            f"the Inception Score needs a network that classifies, and {features.name} has no"
            " output called logits: leave 'is' out of --metrics"
        )
    return tuple(asked)


def measure(names: Sequence[str], real: Summary, generated: Summary) -> Values:
    """The metrics of these names, by their summaries. KID is in thousandths.

    Sets of one size are compared image by image: of the larger, evenly spaced ones.

    Raises:
        UsageError: the sets are too small, or seen by different features.
    """
    values: Values = {}
    ours, theirs = _of_one_size(real.vectors, generated.vectors)
    if "fid" in names:
        values["fid"] = fid(real.moments, generated.moments)
    if "kid" in names:
        values["kid"] = 1000 * kid(ours, theirs)
    if "is" in names:
        assert generated.score is not None, "choose_metrics sees to it"
        values["is"] = generated.score
    if "precision" in names or "recall" in names:
        improved = precision_recall(ours, theirs)
        values |= {"precision": improved.precision, "recall": improved.recall}
    if "density" in names or "coverage" in names:
        robust = density_coverage(ours, theirs)
        values |= {"density": robust.density, "coverage": robust.coverage}
    return {name: values[name] for name in names}


def _of_one_size(
    one: npt.NDArray[np.float32], two: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    size = min(len(one), len(two))
    return one[np.arange(size) * len(one) // size], two[np.arange(size) * len(two) // size]


@dataclass(frozen=True)
class Interval:
    """A mean over repeats and the half of its confidence interval; None of a single one."""

    mean: float
    half: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Student's t interval of the mean."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None)
        with needs_extra("eval", purpose="confidence intervals"):
            from scipy.stats import t
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
        return cls(mean, quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values)))


@dataclass(frozen=True)
class Result:
    """A candidate's values: a list of each metric, one for each repeat."""

    candidate: EvaluatedGenerator
    values: dict[str, list[float]]

    def interval(self, metric: str) -> Interval:
        """The mean of a metric."""
        return Interval.of(self.values[metric])

    def difference(self, metric: str, other: "Result") -> Interval:
        """How much more it has than `other`, repeat by repeat: both drew the same seeds."""
        pairs = zip(self.values[metric], other.values[metric], strict=True)
        return Interval.of([mine - theirs for mine, theirs in pairs])


@dataclass(frozen=True)
class EvalConfig:
    """What is measured of every candidate: repeat r draws n seeds from `seed + r * n` on."""

    metrics: tuple[str, ...]
    n: int  # images in a repeat
    repeats: int = 1
    seed: int = 0  # the first

    @property
    def images(self) -> int:
        """How many are drawn of a candidate."""
        return self.n * self.repeats

    @property
    def seeds(self) -> list[range]:
        """Those of each repeat."""
        first, last = self.seed, self.seed + self.images
        return [range(start, start + self.n) for start in range(first, last, self.n)]


def check_counts(n: int, repeats: int, seed: int = 0, data_n: int | None = None) -> None:
    """Refuse what cannot be measured, before anything is opened.

    Args:
        n: images in a repeat.
        repeats: how often, each of seeds of its own.
        seed: the first.
        data_n: real images; None for all.

    Raises:
        UsageError: a number is out of range.
    """
    for option, count in (("-n", n), ("--data-n", data_n)):
        if count is not None and count < LEAST:
            raise UsageError(f"{option} {count} is not allowed: at least {LEAST} images are needed")
    if repeats < 1:
        raise UsageError(f"--repeats {repeats} is not allowed: it is at least 1")
    if n * repeats > SEED_LIMIT:
        raise UsageError(f"{repeats} repeats of {n} images need more seeds than {SEED_LIMIT}")
    check_seed(seed)
    if seed + n * repeats > SEED_LIMIT:
        raise UsageError(
            f"--seed {seed} is not allowed: {n * repeats} images go beyond the last seed,"
            f" {SEED_LIMIT - 1}"
        )


def judge(
    candidate: EvaluatedGenerator,
    real: Summary,
    features: Features,
    plan: EvalConfig,
    advance: Advance | None = None,
) -> Result:
    """Measure a generator.

    Args:
        candidate: the generator.
        real: the data, seen by the same features.
        features: the network.
        plan: what is measured.
        advance: told of images that are done.

    Raises:
        UsageError: see `check_counts`.
        DataError: there are too few real images.
        ModelFileError: the generator or the features failed.
    """
    check_counts(plan.n, plan.repeats, plan.seed)
    if real.count < LEAST:
        raise DataError(f"{real.count} real images are too few: at least {LEAST} are needed")
    found = [
        measure(plan.metrics, real, summarise(candidate.draw(seeds), plan.n, features, advance))
        for seeds in plan.seeds
    ]
    return Result(candidate, {name: [values[name] for values in found] for name in plan.metrics})
