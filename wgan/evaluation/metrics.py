"""The field's yardsticks, as functions of feature vectors and logits.

Vectors are `[n, d]`, one row for an image, from any network; those of the two sets come from the
same one. Nothing here knows where they come from.
"""

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors, check_lengths
from wgan.evaluation.moments import Array, Moments

SPLITS = 10
"""Parts that the Inception Score is taken over (Salimans et al. 2016)."""


def fid(real: Vectors | Moments, generated: Vectors | Moments) -> float:
    """Fréchet Inception Distance (Heusel et al. 2017, equation 6): 0 is best, no upper bound.

    The distance of two Gaussians that have the sets' means and covariances. It is biased: fewer
    samples give a higher value, so compare only at equal n.

    Args:
        real: vectors `[n, d]`, n at least 2, or their moments.
        generated: the same of the other set.

    Raises:
        UsageError: a set has fewer than 2 vectors, or their lengths differ.
    """
    one, two = _moments(real), _moments(generated)
    check_lengths(len(one.mean), len(two.mean))
    return frechet_distance(one.mean, one.covariance, two.mean, two.covariance)


def _moments(given: Vectors | Moments) -> Moments:
    moments = given if isinstance(given, Moments) else Moments.of(_checked(given, 1))
    if moments.count < 2:
        raise UsageError(f"a covariance of {moments.count} images is not defined: 2 are needed")
    return moments


def frechet_distance(mean1: Array, covariance1: Array, mean2: Array, covariance2: Array) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson and Landau 1982, equation 4).

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). Where a covariance has less than full rank, as
    with fewer images than numbers in a vector, the value is exact all the same.
    """
    # S1 S2 has the eigenvalues of R S2 R with R = S1^(1/2), which is symmetric: its eigenvalues
    # are real, and quicker to find than those of a product.
    values, axes = np.linalg.eigh(covariance1)
    root = (axes * np.sqrt(values.clip(min=0))) @ axes.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ covariance2 @ root).clip(min=0)).sum()
    apart = mean1 - mean2
    traces = np.trace(covariance1) + np.trace(covariance2)
    return float(apart @ apart + traces - 2 * shared)


def kid(
    real: Vectors,
    generated: Vectors,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> float:
    """Kernel Inception Distance (Bińkowski et al. 2018, section 4): 0 is best, it can be below.

    The unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, equation
    3) with the kernel (x.y / d + 1)^3, over random subsets of both sets, as in torch-fidelity.
    Unlike the FID it does not depend on n.

    Args:
        real: `[n, d]`.
        generated: `[m, d]`.
        subsets: how many are drawn.
        subset_size: vectors in one, less where a set has fewer.
        seed: of the draws.

    Returns:
        The mean over the subsets.

    Raises:
        UsageError: a set has fewer than 2 vectors, or their lengths differ.
    """
    one, two = _checked_pair(real, generated, 2)
    size = min(subset_size, len(one), len(two))
    random = np.random.RandomState(seed)
    values = [
        _squared_mmd(
            one[random.choice(len(one), size, replace=False)],
            two[random.choice(len(two), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values))


def _squared_mmd(x: Vectors, y: Vectors) -> float:
    n = len(x)
    within = sum(float(k.sum() - np.trace(k)) for k in (_kernel(x, x), _kernel(y, y)))
    return within / (n * (n - 1)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: Vectors, y: Vectors) -> Array:
    product = x.astype(np.float64) @ y.astype(np.float64).T
    kernel: Array = (product / x.shape[1] + 1) ** 3
    return kernel


class ScoreTally:
    """The Inception Score (Salimans et al. 2016, section 4) of logits that come a batch at a time.

    1 is worst, the number of classes best. It never looks at real images.

    Args:
        count: how many logits will come.
        splits: parts, one after the other, that the score is taken of; less where fewer come.
    """

    def __init__(self, count: int, splits: int = SPLITS) -> None:
        # Where the paper's code cuts.
        self._ends = np.arange(1, splits + 1) * count // splits
        self._parts = [_Part() for _ in range(splits)]
        self._done = 0

    def add(self, logits: npt.NDArray[np.floating]) -> None:
        """Count logits `[n, classes]`, before the softmax."""
        places = np.arange(self._done, self._done + len(logits))
        parts = np.searchsorted(self._ends, places, side="right")
        for part in np.unique(parts):
            self._parts[part].add(logits[parts == part])
        self._done += len(logits)

    @property
    def score(self) -> float:
        """The mean over the parts."""
        return float(np.mean([part.score for part in self._parts if part.count]))


class _Part:
    """The score of one part."""

    def __init__(self) -> None:
        self.count = 0
        self._probabilities: Array | float = 0.0  # their sum
        self._negentropies = 0.0  # the sum over images of sum_y p log p

    def add(self, logits: npt.NDArray[np.floating]) -> None:
        """Count logits `[n, classes]`."""
        values = np.asarray(logits, np.float64)
        shifted = values - values.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        p = np.exp(log_p)
        self.count += len(p)
        self._probabilities = self._probabilities + p.sum(axis=0)
        self._negentropies += float((p * log_p).sum())

    @property
    def score(self) -> float:
        """The exponential of the mean KL divergence of p(y|x) from p(y)."""
        marginal = np.asarray(self._probabilities / self.count)
        known = marginal[marginal > 0]  # p log p is 0 at p = 0
        return float(np.exp(self._negentropies / self.count - (known * np.log(known)).sum()))


def _checked(values: npt.NDArray[np.floating], least: int) -> npt.NDArray[np.floating]:
    if values.ndim != 2 or len(values) < least or values.shape[1] < 1:
        raise UsageError(
            f"features of shape {list(values.shape)} are not allowed: [n, d] is needed, n at"
            f" least {least}"
        )
    return values


def _checked_pair(one: Vectors, two: Vectors, least: int) -> tuple[Vectors, Vectors]:
    check_lengths(_checked(one, least).shape[1], _checked(two, least).shape[1])
    return one, two
