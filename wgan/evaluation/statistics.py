"""Statistics of a set of images in feature space, a batch at a time; cached for real images."""

import dataclasses
import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, OutputError
from wgan.evaluation.features import Features, Vectors
from wgan.files import make_folder, why_unreadable, write_whole
from wgan.images import Pixels
from wgan.progress import Progress
from wgan.stop import check_stop

if TYPE_CHECKING:  # the metrics import this module, and need no PyTorch
    from wgan.training.data import Cache, Dataset

logger = logging.getLogger(__name__)

Float64Array = npt.NDArray[np.float64]

MAX_FEATURES = 10_000
"""Feature vectors kept of a set, for the metrics that compare images one by one: 82 MB at 2,048
numbers each. FID and Inception Score use every image."""

BATCH_SIZE = 64
"""Real images per batch of a feature network."""

FORMAT = "wgan-statistics-1"

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
        # The bounds of the paper's code: lengths differ by 1 unless `splits` divides `count`.
        self._ends = np.arange(1, splits + 1) * count // splits
        self._done = 0
        # Of each part: sums over its images of p(y|x), and of sum_y p(y|x) log p(y|x).
        self._probabilities: Float64Array | None = None  # [splits, classes]
        self._negentropies = np.zeros(splits)

    def add(self, logits: npt.NDArray[np.floating]) -> None:
        """Add logits `[n, classes]`, before the softmax."""
        values = np.asarray(logits, np.float64)
        # log-softmax, shifted so that exp cannot overflow.
        shifted = values - values.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        if self._probabilities is None:
            self._probabilities = np.zeros((len(self._ends), p.shape[1]))
        indices = np.arange(self._done, self._done + len(p))
        parts = np.searchsorted(self._ends, indices, side="right")
        # add.at and not +=, which adds only once to a part that occurs several times.
        np.add.at(self._probabilities, parts, p)
        np.add.at(self._negentropies, parts, (p * log_p).sum(axis=1))
        self._done += len(p)

    @property
    def value(self) -> float:
        """The mean over the parts of exp(mean KL divergence of p(y|x) from p(y))."""
        assert self._probabilities is not None, "call add first"
        lengths = np.diff(self._ends, prepend=0)
        some = lengths > 0
        marginals = self._probabilities[some] / lengths[some, None]
        # p log p is 0 at p = 0.
        logs = np.log(marginals, where=marginals > 0, out=np.zeros_like(marginals))
        divergences = self._negentropies[some] / lengths[some] - (marginals * logs).sum(axis=1)
        return float(np.exp(divergences).mean())


@dataclass(frozen=True)
class FeatureStatistics:
    """All that the metrics need of a set of images."""

    moments: Moments  # of every image
    vectors: npt.NDArray[np.float32]  # [m, d], m at most MAX_FEATURES, evenly spaced
    score: float | None = None  # the Inception Score, if the features have logits; not cached

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


def statistics_folder(cache: "Cache | None") -> Path | None:
    """The folder of cached statistics, within the cache of decoded images; None without one."""
    return None if cache is None else cache.folder / "statistics"


def load_reference(
    data: "Dataset",
    features: Features,
    n: int | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> FeatureStatistics:
    """Return the statistics of `n` images of the data, evenly spaced; from disk if cached.

    Args:
        data: the real images.
        features: the network.
        n: the number of images; None for all.
        folder: the cache, as from `statistics_folder`; None for none. If it cannot be written, a
            warning says so.
        progress: whether to show a progress bar on standard error.

    Raises:
        DataError: there are fewer than 2 images, or shards do not say how many they hold.
        ModelFileError: as `Features`.
    """
    if data.count is None:
        raise DataError(
            "the number of images in these shards is unknown: write them with  wgan prepare,"
            " which counts them"
        )
    count = data.count if n is None else min(n, data.count)
    if count < 2:
        raise DataError(f"{count} images have no statistics: at least 2 are needed")
    identity = json.dumps([FORMAT, data.sha256, features.key, count, MAX_FEATURES])
    key = hashlib.sha256(identity.encode()).hexdigest()[:32]
    path = folder / f"{key}.npz" if folder else None
    if path is not None and (cached := _read(path)) is not None:
        return cached
    with Progress(count, "data", "images") if progress else nullcontext() as bar:
        statistics = feature_statistics(data.images(count, BATCH_SIZE), count, features, bar)
    if path is not None:
        buffer = io.BytesIO()
        np.savez(buffer, **dataclasses.asdict(statistics.moments), vectors=statistics.vectors)
        try:
            make_folder(path.parent)
            write_whole(path, buffer.getvalue())
        except OutputError as exc:
            logger.warning("%s; the statistics of the data are not cached", exc)
    return statistics


def _read(path: Path) -> FeatureStatistics | None:
    """Read cached statistics; None if there are none, or damaged ones, with a warning."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a zip, whose records have checksums
            moments = Moments(int(arrays["count"]), arrays["mean"], arrays["scatter"])
            return FeatureStatistics(moments, arrays["vectors"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        reason = why_unreadable(exc, "are damaged and will be computed again")
        logger.warning("the statistics %s %s", path, reason)
        return None
