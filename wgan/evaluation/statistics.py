"""Statistics of a set of images in feature space, computed a batch at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from wgan.evaluation.features import Features, Vectors
from wgan.images import Pixels
from wgan.progress import Progress
from wgan.stop import check_stop

Float64Array = npt.NDArray[np.float64]

MAX_FEATURES = 10_000
"""Feature vectors kept of a set, for the metrics that compare images one by one: 82 MB at 2,048
numbers each. FID and Inception Score use every image."""

SPLITS = 10
"""Parts that the Inception Score is averaged over (Salimans et al. 2016)."""


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of feature vectors."""

    count: int
    mean: Float64Array  # [d]
    scatter: Float64Array  # [d, d]: sum of the outer products of deviations from the mean

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """Compute the moments of `[n, d]`, in float64."""
        values = np.asarray(vectors, np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    @property
    def covariance(self) -> Float64Array:
        """`[d, d]`, unbiased: divided by n - 1, as in `numpy.cov`."""
        return self.scatter / max(1, self.count - 1)

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of the union (Chan, Golub and LeVeque 1983, equation 2.1)."""
        count = self.count + other.count
        between = other.mean - self.mean
        mean = self.mean + between * (other.count / count)
        shift = np.outer(between, between) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + shift)


class InceptionScore:
    """The Inception Score (Salimans et al. 2016, section 4), a batch of logits at a time.

    1 is worst, the number of classes best. It does not depend on real images.

    Args:
        count: the number of images to come.
        splits: consecutive parts that the score is averaged over; fewer if fewer images come.
    """

    def __init__(self, count: int, splits: int = SPLITS) -> None:
        # The bounds of the paper's code.
        self._ends = np.arange(1, splits + 1) * count // splits
        self._parts = [_ScorePart() for _ in range(splits)]
        self._done = 0

    def add(self, logits: npt.NDArray[np.floating]) -> None:
        """Add logits `[n, classes]`, before the softmax."""
        indices = np.arange(self._done, self._done + len(logits))
        parts = np.searchsorted(self._ends, indices, side="right")
        for part in np.unique(parts):
            self._parts[part].add(logits[parts == part])
        self._done += len(logits)

    @property
    def value(self) -> float:
        """The mean over the parts."""
        return float(np.mean([part.value for part in self._parts if part.count]))


class _ScorePart:
    """The score of one part."""

    def __init__(self) -> None:
        self.count = 0
        self._probabilities: Float64Array | float = 0.0  # sum over images of p(y|x)
        self._negentropy = 0.0  # sum over images of sum_y p log p

    def add(self, logits: npt.NDArray[np.floating]) -> None:
        """Add logits `[n, classes]`."""
        values = np.asarray(logits, np.float64)
        # log-softmax, shifted so that exp cannot overflow
        shifted = values - values.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        self.count += len(p)
        self._probabilities = self._probabilities + p.sum(axis=0)
        self._negentropy += float((p * log_p).sum())

    @property
    def value(self) -> float:
        """Exponential of the mean KL divergence of p(y|x) from p(y)."""
        marginal = np.asarray(self._probabilities / self.count)
        positive = marginal[marginal > 0]  # p log p is 0 at p = 0
        return float(np.exp(self._negentropy / self.count - (positive * np.log(positive)).sum()))


@dataclass(frozen=True)
class FeatureStatistics:
    """All that the metrics need of a set of images."""

    moments: Moments  # of every image
    vectors: npt.NDArray[np.float32]  # [m, d], m at most MAX_FEATURES, evenly spaced
    score: float | None = None  # the Inception Score, if the features have logits

    @property
    def count(self) -> int:
        """The number of images."""
        return self.moments.count


def feature_statistics(
    batches: Iterable[Pixels], count: int, features: Features, progress: Progress | None = None
) -> FeatureStatistics:
    """Compute the statistics of `count` images, `[n, height, width, channels]` at a time.

    Memory holds a batch, MAX_FEATURES vectors and a covariance, whatever the count.

    Raises:
        ModelFileError: as `Features`.
    """
    moments: Moments | None = None
    kept: list[npt.NDArray[np.float32]] = []
    score = InceptionScore(count) if features.has_logits else None
    done = 0
    for pixels in batches:
        batch = features(pixels)
        new = Moments.of(batch.vectors)
        moments = new + moments if moments else new
        kept.append(batch.vectors[is_kept(np.arange(done, done + len(pixels)), count)])
        if score is not None:
            assert batch.logits is not None, "has_logits says so"
            score.add(batch.logits)
        done += len(pixels)
        check_stop()
        if progress:
            progress.advance(len(pixels))
    assert moments is not None
    assert done == count, f"{done} images came instead of {count}"
    return FeatureStatistics(moments, np.concatenate(kept), score.value if score else None)


def is_kept(indices: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Whether each of `indices` is among MAX_FEATURES evenly spaced ones of `count` images."""
    most = min(MAX_FEATURES, count)
    return indices * most // count < (indices + 1) * most // count
