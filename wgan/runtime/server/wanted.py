"""The latents that a request asks for, made when they are drawn and not before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wgan.latents import latents as latents_of

Latents = npt.NDArray[np.float32]
"""`[n, latent_dim]`, standard normal."""


class Wanted(Protocol):
    """`len(wanted)` pictures; any of their latents can be asked for."""

    def __len__(self) -> int: ...

    def latents(self, positions: Sequence[int]) -> Latents:
        """The latents at `positions`, `[len(positions), latent_dim]`."""
        ...


@dataclass(frozen=True)
class WantedSeeds:
    """The pictures of seeds, their latents scaled by `truncation` (1: as they are)."""

    seeds: Sequence[int]
    latent_dim: int
    truncation: float = 1.0

    def __len__(self) -> int:
        return len(self.seeds)

    def latents(self, positions: Sequence[int]) -> Latents:
        """As `wgan.latents.latents`, scaled."""
        drawn = latents_of([int(self.seeds[at]) for at in positions], self.latent_dim)
        return drawn * np.float32(self.truncation)


@dataclass(frozen=True)
class WantedLatents:
    """The pictures of latents that the client made, scaled by `truncation`."""

    rows: Latents
    truncation: float = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def latents(self, positions: Sequence[int]) -> Latents:
        """The rows, scaled."""
        return self.rows[list(positions)] * np.float32(self.truncation)


@dataclass(frozen=True)
class WantedPath:
    """Pictures on the great circle from one seed's latent to another's.

    A straight line would leave the shell on which standard normal latents lie (White 2016,
    "Sampling Generative Networks"). Each position is 0 (the first) to 1 (the second).
    """

    first: int
    second: int
    places: tuple[float, ...]
    latent_dim: int
    truncation: float = 1.0

    def __len__(self) -> int:
        return len(self.places)

    def latents(self, positions: Sequence[int]) -> Latents:
        """The latents on the way, scaled."""
        start, end = latents_of([self.first, self.second], self.latent_dim)
        drawn = np.stack([slerp(start, end, self.places[at]) for at in positions])
        return drawn * np.float32(self.truncation)


def slerp(start: Latents, end: Latents, part: float) -> Latents:
    """Go `part` (0 to 1) of the way on a great circle (Shoemake 1985), `[latent_dim]` each."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    angle = np.arccos(np.clip(a @ b / lengths, -1, 1))
    if np.sin(angle) < 1e-6:  # the same direction, or opposite ones: no circle of their own
        return ((1 - part) * a + part * b).astype(np.float32)
    mixed: npt.NDArray[np.float64] = (
        np.sin((1 - part) * angle) * a + np.sin(part * angle) * b
    ) / np.sin(angle)
    return mixed.astype(np.float32)
