"""FID and KID as functions of feature vectors `[n, d]`, one row per image.

The vectors of both sets come from the same network, whichever that is.
"""

import numpy as np

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors, check_lengths
from wgan.evaluation.statistics import Float64Array, Moments


def fid(real: Vectors | Moments, generated: Vectors | Moments) -> float:
    """Fréchet Inception Distance (Heusel et al. 2017, equation 6): 0 is best, no upper bound.

    The distance between two Gaussians with the sets' means and covariances. It is biased: fewer
    images give a higher value, so compare only at equal n.

    Args:
        real: vectors `[n, d]`, n at least 2, or their moments.
        generated: the same for the other set.

    Raises:
        UsageError: a set has fewer than 2 vectors, or their lengths differ.
    """
    one, two = _moments(real), _moments(generated)
    check_lengths(len(one.mean), len(two.mean))
    return frechet_distance(one.mean, one.covariance, two.mean, two.covariance)


def _moments(given: Vectors | Moments) -> Moments:
    moments = given if isinstance(given, Moments) else Moments.of(_checked(given, 1))
    if moments.count < 2:
        raise UsageError(
            f"the covariance of {moments.count} images is undefined: at least 2 are needed"
        )
    return moments


def frechet_distance(
    mean1: Float64Array, covariance1: Float64Array, mean2: Float64Array, covariance2: Float64Array
) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson and Landau 1982, equation 4).

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). It is exact for
    singular covariances too, as with fewer images than numbers in a vector.
    """
    # S1 S2 has the eigenvalues of R S2 R with R = S1^(1/2), which is symmetric: its eigenvalues
    # are real, and cheaper than those of a product.
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
    """Kernel Inception Distance (Bińkowski et al. 2018, section 4): 0 is best; it can be negative.

    The unbiased estimate of the squared maximum mean discrepancy (Gretton et al. 2012, equation
    3) with the kernel (x.y / d + 1)^3, over random subsets of both sets, as in torch-fidelity.
    Unlike FID it is unbiased in n.

    Args:
        real: `[n, d]`.
        generated: `[m, d]`.
        subsets: the number of random subsets.
        subset_size: vectors per subset; fewer if a set has fewer.
        seed: of the subsets.

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


def _kernel(x: Vectors, y: Vectors) -> Float64Array:
    product = x.astype(np.float64) @ y.astype(np.float64).T
    kernel: Float64Array = (product / x.shape[1] + 1) ** 3
    return kernel


def _checked(values: Vectors, least: int) -> Vectors:
    if values.ndim != 2 or len(values) < least or values.shape[1] < 1:
        raise UsageError(
            f"features of shape {list(values.shape)} are not allowed: [n, d] is needed, n at"
            f" least {least}"
        )
    return values


def _checked_pair(one: Vectors, two: Vectors, least: int) -> tuple[Vectors, Vectors]:
    check_lengths(_checked(one, least).shape[1], _checked(two, least).shape[1])
    return one, two
