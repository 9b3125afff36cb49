"""Mean and covariance of vectors that come a batch at a time: memory does not grow with them."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from wgan.evaluation.features import Vectors

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """How many vectors there were, their mean, and their scatter about it."""

    count: int
    mean: Array  # [d]
    scatter: Array  # [d, d]: the sum of outer products of the vectors' distances from the mean

    @classmethod
    def of(cls, vectors: Vectors) -> Self:
        """The moments of vectors `[n, d]`, in float64."""
        values = np.asarray(vectors, np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(len(values), mean, centred.T @ centred)

    @property
    def covariance(self) -> Array:
        """`[d, d]`, without bias: divided by n - 1, as `numpy.cov` does."""
        return self.scatter / max(1, self.count - 1)

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together (Chan, Golub and LeVeque 1983, equation 2.1)."""
        count = self.count + other.count
        between = other.mean - self.mean
        mean = self.mean + between * (other.count / count)
        shift = np.outer(between, between) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + shift)
