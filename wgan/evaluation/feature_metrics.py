"""Metrics as functions of feature vectors `[n, d]`, one row per image, from any one network.

FID and KID compare two distributions. Precision, recall, density and coverage approximate the
manifold of a set by balls around its images that reach to their k-th nearest neighbour.
"""

from collections.abc import Iterator

import numpy as np

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors
from wgan.evaluation.statistics import Float64Array, Moments

TILE = 1024
"""Vectors on each side of a tile of distances, 8 MiB: memory holds the vectors and a few tiles."""

IMPROVED_K = 3
"""The k of precision and recall (Kynkäänniemi et al. 2019, section 3.1)."""

ROBUST_K = 5
"""The k of density and coverage (Naeem et al. 2020, section 3.3)."""


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
    _check_lengths(len(one.mean), len(two.mean))
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

    |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). It is exact for singular covariances too, as
    with fewer images than numbers in a vector.
    """
    # S1 S2 has the eigenvalues of R S2 R with R = S1^(1/2), which is symmetric: its eigenvalues
    # are real, and cheaper than those of a product. Rounding makes zeros slightly negative.
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
    3) with the kernel (x.y / d + 1)^3; the mean over random subsets, as in torch-fidelity. Unlike
    FID it is unbiased in n.

    Args:
        real: `[n, d]`.
        generated: `[m, d]`.
        subsets: the number of random subsets.
        subset_size: vectors per subset; fewer if a set has fewer.
        seed: of the subsets.

    Raises:
        UsageError: a set has fewer than 2 vectors, or their lengths differ.
    """
    _check_lengths(_checked(real, 2).shape[1], _checked(generated, 2).shape[1])
    size = min(subset_size, len(real), len(generated))
    # RandomState, whose stream never changes, in the order of torch-fidelity's draws.
    random = np.random.RandomState(seed)
    values = [
        _squared_mmd(
            real[random.choice(len(real), size, replace=False)],
            generated[random.choice(len(generated), size, replace=False)],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values))


def _squared_mmd(x: Vectors, y: Vectors) -> float:
    n = len(x)
    # Without the diagonal, where an image meets itself: that makes the estimate unbiased.
    within = sum(float(k.sum() - np.trace(k)) for k in (_kernel(x, x), _kernel(y, y)))
    return within / (n * (n - 1)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: Vectors, y: Vectors) -> Float64Array:
    product = x.astype(np.float64) @ y.astype(np.float64).T
    kernel: Float64Array = (product / x.shape[1] + 1) ** 3
    return kernel


def precision_recall(real: Vectors, generated: Vectors, k: int = IMPROVED_K) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    Args:
        real: `[n, d]`, n more than k.
        generated: `[m, d]`, m more than k.
        k: a ball reaches to the k-th nearest neighbour.

    Returns:
        Precision, the share of generated images within the real manifold, and recall, the share
        of real images within the generated manifold: quality and diversity. 1 is best.

    Raises:
        UsageError: a set has too few vectors, or their lengths differ.
    """
    real_radii, generated_radii = radii(real, k), radii(generated, k)
    precise = np.zeros(len(generated), bool)
    recalled = np.zeros(len(real), bool)
    for rows, columns, squares in tiles(real, generated):
        precise[columns] |= (squares <= real_radii[rows, None]).any(axis=0)
        recalled[rows] |= (squares <= generated_radii[None, columns]).any(axis=1)
    return float(precise.mean()), float(recalled.mean())


def density_coverage(real: Vectors, generated: Vectors, k: int = ROBUST_K) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, equations 3 and 4), robust to outliers.

    Arguments and errors as for `precision_recall`, except that `generated` may be of any length.

    Returns:
        Density, the mean number of real balls around a generated image, divided by k, and
        coverage, the share of real images with a generated one in their ball. Higher is better;
        further real images have density 1 and coverage below 1.
    """
    real_radii = radii(real, k)
    inside = 0
    covered = np.zeros(len(real), bool)
    for rows, _, squares in tiles(real, generated):
        hits = squares <= real_radii[rows, None]
        inside += int(hits.sum())
        covered[rows] |= hits.any(axis=1)
    return inside / (k * len(generated)), float(covered.mean())


def radii(vectors: Vectors, k: int) -> Float64Array:
    """Squared distance of each vector to its k-th nearest other one, `[n]`.

    Raises:
        UsageError: there are at most k vectors.
    """
    if len(vectors) <= k:
        raise UsageError(f"{len(vectors)} images are too few for {k} neighbours each: use more")
    found = np.full((len(vectors), k + 1), np.inf)  # the nearest so far, itself included
    for rows, columns, squares in tiles(vectors, vectors):
        if rows == columns:
            np.fill_diagonal(squares, 0)  # exactly, whatever the rounding
        both = np.concatenate([found[rows], squares], axis=1)
        found[rows] = np.partition(both, k, axis=1)[:, : k + 1]
    farthest: Float64Array = found.max(axis=1)
    return farthest


def tiles(one: Vectors, two: Vectors) -> Iterator[tuple[slice, slice, Float64Array]]:
    """Yield squared distances a tile at a time: rows of `one`, rows of `two`, `[rows, columns]`.

    Raises:
        UsageError: the vectors' lengths differ.
    """
    _check_lengths(one.shape[1], two.shape[1])
    # Centred vectors are shorter, so |x|^2 + |y|^2 - 2xy cancels fewer digits.
    mean = one.mean(axis=0, dtype=np.float64)
    for rows in _slices(len(one)):
        x = one[rows] - mean
        for columns in _slices(len(two)):
            yield rows, columns, squared_distances(x, two[columns] - mean)


def _slices(count: int) -> list[slice]:
    return [slice(first, min(first + TILE, count)) for first in range(0, count, TILE)]


def squared_distances(x: Float64Array, y: Float64Array) -> Float64Array:
    """Squared Euclidean distances between `[n, d]` and `[m, d]`, `[n, m]`; never negative."""
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    squares: Float64Array = np.maximum(lengths - 2 * (x @ y.T), 0)
    return squares


def _checked(values: Vectors, least: int) -> Vectors:
    if values.ndim != 2 or len(values) < least or values.shape[1] < 1:
        raise UsageError(
            f"features of shape {list(values.shape)} are not allowed: [n, d] is needed, n at"
            f" least {least}"
        )
    return values


def _check_lengths(one: int, two: int) -> None:
    if one != two:
        raise UsageError(
            f"vectors of {one} and of {two} numbers cannot be compared: use the same features for"
            " both"
        )
