"""Mixtures of Gaussians in the plane, and PacGAN's two scores.

Lin et al. 2018, "PacGAN: The power of two samples in generative adversarial networks"
(arXiv:1712.04086), section 4.1: "2D-ring" and "2D-grid".
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""`[n, 2]`."""

HIGH_QUALITY = 3.0
"""Standard deviations from the nearest centre within which a point is of high quality."""

SCORED = 2_500
"""Generated points per score."""


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians of equal weight and standard deviation."""

    name: str
    centres: Points  # [modes, 2]
    sigma: float

    @property
    def scale(self) -> float:
        """Standard deviation of a coordinate, the unit of the training points."""
        return float(np.sqrt(self.centres.var() + self.sigma**2))

    @property
    def ideal(self) -> float:
        """Share of high quality among points of the mixture itself (Rayleigh distribution)."""
        return float(1 - np.exp(-(HIGH_QUALITY**2) / 2))

    def sample(self, n: int, seed: int) -> Points:
        """Sample `n` points."""
        random = np.random.RandomState(seed)
        chosen = self.centres[random.randint(len(self.centres), size=n)]
        return (chosen + self.sigma * random.standard_normal((n, 2))).astype(np.float32)


@dataclass(frozen=True)
class Score:
    """The two scores."""

    modes: int  # centres that are the nearest of a point of high quality
    high_quality: float  # share of points, 0 to 1


def score(points: Points, mixture: Mixture) -> Score:
    """Count modes and points of high quality, as PacGAN's code does."""
    # (n, 1, 2) - (modes, 2) -> (n, modes)
    distances = np.linalg.norm(points[:, None] - mixture.centres, axis=2)
    good = distances.min(axis=1) < HIGH_QUALITY * mixture.sigma
    found = np.unique(distances.argmin(axis=1)[good])
    return Score(len(found), float(good.mean()))


def _grid() -> Points:
    ticks = (-4, -2, 0, 2, 4)
    return np.array([(x, y) for x in ticks for y in ticks], np.float32)


def _ring() -> Points:
    angles = 2 * np.pi * np.arange(8) / 8
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


MIXTURES = {
    "grid": Mixture("grid", _grid(), sigma=0.05),
    "ring": Mixture("ring", _ring(), sigma=0.01),
}
"""With the centres and deviations of PacGAN's code."""
