"""Metrics by nearest neighbours: precision, recall, density and coverage.

Each looks at the balls about the images of a set that reach to their k-th nearest neighbour in
it: the place where such images are. Distances are taken a tile at a time, in float64: memory is
that of the vectors and a few tiles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors, check_lengths
from wgan.evaluation.moments import Array

TILE = 1024
"""Vectors on each side of a tile of distances: 8 MiB."""

IMPROVED_K = 3
"""The k of precision and recall (Kynkäänniemi et al. 2019, section 3.1)."""

ROBUST_K = 5
"""The k of density and coverage (Naeem et al. 2020, section 3.3)."""


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares, 0 to 1; 1 is best."""

    precision: float  # of generated images that lie where real ones are: quality
    recall: float  # of real images that lie where generated ones are: diversity


@dataclass(frozen=True)
class DensityCoverage:
    """More is better; what other images of the data would get is not 1 for both."""

    density: float  # real balls that a generated image lies in, of k: 1 for the data, or above
    coverage: float  # share of real images with a generated one in their ball: below 1 even then


def precision_recall(real: Vectors, generated: Vectors, k: int = IMPROVED_K) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    Args:
        real: `[n, d]`, n more than k.
        generated: `[m, d]`, m more than k.
        k: which nearest neighbour a ball reaches to.

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
    """Density and coverage (Naeem et al. 2020, equations 3 and 4): outliers count for less.

    Arguments and errors as for `precision_recall`, but `generated` may have any length from 1 on.
    """
    real_radii = radii(real, k)
    inside = 0
    covered = np.zeros(len(real), bool)
    for rows, _, squares in tiles(real, generated):
        hits = squares <= real_radii[rows, None]
        inside += int(hits.sum())
        covered[rows] |= hits.any(axis=1)
    return DensityCoverage(inside / (k * len(generated)), float(covered.mean()))


def radii(vectors: Vectors, k: int) -> Array:
    """Squared distances to the k-th nearest other vector, `[n]`.

    Raises:
        UsageError: there are not more vectors than k.
    """
    if len(vectors) <= k:
        raise UsageError(f"{len(vectors)} images have no {k}. neighbour: take more")
    found = np.full((len(vectors), k + 1), np.inf)  # the nearest so far, itself among them
    for rows, columns, squares in tiles(vectors, vectors):
        if rows == columns:
            np.fill_diagonal(squares, 0)  # itself, exactly
        both = np.concatenate([found[rows], squares], axis=1)
        found[rows] = np.partition(both, k, axis=1)[:, : k + 1]
    farthest: Array = found.max(axis=1)
    return farthest


def tiles(one: Vectors, two: Vectors) -> Iterator[tuple[slice, slice, Array]]:
    """Squared Euclidean distances a tile at a time: rows of `one`, of `two`, and `[rows, columns]`.

    Raises:
        UsageError: the vectors' lengths differ.
    """
    check_lengths(one.shape[1], two.shape[1])
    # About their middle the vectors are shorter, and fewer digits cancel out.
    middle = one.mean(axis=0, dtype=np.float64)
    for rows in _slices(len(one)):
        x = one[rows] - middle
        for columns in _slices(len(two)):
            yield rows, columns, squared_distances(x, two[columns] - middle)


def squared_distances(x: Array, y: Array) -> Array:
    """Squared Euclidean distances of `[n, d]` and `[m, d]`, `[n, m]`; never below 0."""
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    squares: Array = np.maximum(lengths - 2 * (x @ y.T), 0)
    return squares


def _slices(count: int) -> list[slice]:
    return [slice(first, min(first + TILE, count)) for first in range(0, count, TILE)]
