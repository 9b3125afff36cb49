"""The latents that a request asks for, made when they are drawn and not before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wgan.errors import UsageError
from wgan.latents import Latents, latents_from_seeds
from wgan.runtime.latent_sources import check_truncation, slerp
from wgan.server.request_error import bad_request
from wgan.text import shorten


def read_truncation(value: object) -> float:
    """A number that latents may be scaled by. Raises RequestError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise bad_request(f"truncation is {shorten(value)}, not a number")
    try:
        check_truncation(value)
    except UsageError as exc:
        raise bad_request(str(exc)) from exc
    return float(value)


class Wanted(Protocol):
    """`len(wanted)` images; any of their latents can be asked for, as of a `sources.Source`."""

    def __len__(self) -> int: ...

    def latents(self, positions: Sequence[int]) -> Latents:
        """The latents at `positions`, `[len(positions), latent_dim]`."""
        ...


@dataclass(frozen=True)
class WantedLatents:
    """The images of latents that the client made, scaled by `truncation`."""

    rows: Latents
    truncation: float = 1.0

    def __len__(self) -> int:
        return len(self.rows)

    def latents(self, positions: Sequence[int]) -> Latents:
        """The rows, scaled."""
        return self.rows[list(positions)] * np.float32(self.truncation)


@dataclass(frozen=True)
class WantedPath:
    """Images on the great circle from one seed's latent to another's.

    Each of `places` is 0 (the first seed) to 1 (the second).
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
        start, end = latents_from_seeds([self.first, self.second], self.latent_dim)
        drawn = np.stack([slerp(start, end, self.places[at]) for at in positions])
        return drawn * np.float32(self.truncation)
