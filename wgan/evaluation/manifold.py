"""Metrics from nearest neighbours: precision, recall, density and coverage.

Each approximates the manifold of a set by balls around its images that reach to their k-th nearest
neighbour. Distances are computed a tile at a time, in float64, so memory holds the vectors and a
few tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors, check_lengths
from wgan.evaluation.statistics import Float64Array

TILE = 1024
"""Vectors on each side of a tile of distances, 8 MiB."""

IMPROVED_K = 3
"""The k of precision and recall (Kynkäänniemi et al. 2019, section 3.1)."""

ROBUST_K = 5
"""The k of density and coverage (Naeem et al. 2020, section 3.3)."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares from 0 to 1; 1 is best."""

    precision: float  # of generated images within the real manifold: quality
    recall: float  # of real images within the generated manifold: diversity


@dataclass(frozen=True)
class DensityCoverage:
    """Higher is better. Further real images have density 1 and coverage below 1."""

    density: float  # mean number of real balls around a generated image, divided by k
    coverage: float  # share of real images with a generated one in their ball


def precision_recall(real: Vectors, generated: Vectors, k: int = IMPROVED_K) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    Args:
        real: `[n, d]`, n more than k.
        generated: `[m, d]`, m more than k.
        k: a ball reaches to the k-th nearest neighbour.

    Raises:
        UsageError: a set has too few vectors, or their lengths differ.
    """
    real_radii, generated_radii = radii(real, k), radii(generated, k)
    precise = np.zeros(len(generated), bool)
    recalled = np.zeros(len(real), bool)
    for rows, columns, squares in tiles(real, generated):
        precise[columns] |= (squares <= real_radii[rows, None]).any(axis=0)
        recalled[rows] |= (squares <= generated_radii[None, columns]).any(axis=1)
    return PrecisionRecall(float(precise.mean()), float(recalled.mean()))


def density_coverage(real: Vectors, generated: Vectors, k: int = ROBUST_K) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, equations 3 and 4), robust to outliers.

    Arguments and errors as for `precision_recall`, except that `generated` may be of any length.
    """
    real_radii = radii(real, k)
    inside = 0
    covered = np.zeros(len(real), bool)
    for rows, _, squares in tiles(real, generated):
        hits = squares <= real_radii[rows, None]
        inside += int(hits.sum())
        covered[rows] |= hits.any(axis=1)
    return DensityCoverage(inside / (k * len(generated)), float(covered.mean()))


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
    check_lengths(one.shape[1], two.shape[1])
    # Centred vectors are shorter, so |x|^2 + |y|^2 - 2xy cancels fewer digits.
    mean = one.mean(axis=0, dtype=np.float64)
    for rows in _slices(len(one)):
        x = one[rows] - mean
        for columns in _slices(len(two)):
            yield rows, columns, squared_distances(x, two[columns] - mean)


def squared_distances(x: Float64Array, y: Float64Array) -> Float64Array:
    """Squared Euclidean distances between `[n, d]` and `[m, d]`, `[n, m]`; never negative."""
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    squares: Float64Array = np.maximum(lengths - 2 * (x @ y.T), 0)
    return squares


def _slices(count: int) -> list[slice]:
    return [slice(first, min(first + TILE, count)) for first in range(0, count, TILE)]
