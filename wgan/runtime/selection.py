"""Which images a user asks for, checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import UsageError
from wgan.latents import SEED_LIMIT, check_seed, parse_seeds
from wgan.runtime.latent_sources import LatentSource, Loop, Seeds, check_truncation, load_rows

DEFAULT_COUNT = 64
DEFAULT_FRAMES = 120


@dataclass(frozen=True, kw_only=True)
class SampleSelection:
    """One of: seeds counted on from a first, seeds listed, a file of latents, a closed path.

    Raises:
        UsageError: two of them are given, or a value is not allowed.
    """

    count: int | None = None  # how many seeds from `first` on; None: `otherwise`, or 64
    first: int | None = None  # None: 0
    seeds: str | None = None  # as `parse_seeds` reads them
    latents: Path | None = None  # a .npy file
    interpolate: str | None = None  # seeds to pass through
    frames: int | None = None  # of the whole path; None: `otherwise`, or 120
    otherwise: int | None = None  # how many where the user has not said: the cells of a grid
    truncation: float = 1.0

    def __post_init__(self) -> None:
        # -n and --seed go together: they are one way.
        counted, name = (self.first, "--seed") if self.count is None else (self.count, "-n")
        ways = {
            name: counted,
            "--seeds": self.seeds,
            "--latents": self.latents,
            "--interpolate": self.interpolate,
        }
        given = [way for way, value in ways.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} exclude each other")
        if self.frames is not None and self.interpolate is None:
            raise UsageError("--frames goes with --interpolate")
        if self.count is not None and not 1 <= self.count <= SEED_LIMIT:
            raise UsageError(f"-n {self.count} is not allowed: draw 1 to {SEED_LIMIT} images")
        if self.frames is not None and not 1 <= self.frames <= 10**6:
            raise UsageError(f"--frames {self.frames} is not allowed: draw 1 to 1000000")
        check_truncation(self.truncation)

    def source(self, latent_dim: int) -> LatentSource:
        """Where a generator of `latent_dim` takes its latents from.

        Raises:
            UsageError: seeds cannot be read or are out of range, or the file of latents does not
                fit.
        """
        if self.latents is not None:
            return load_rows(self.latents, latent_dim, self.truncation)
        if self.interpolate is not None:
            anchors = parse_seeds(self.interpolate)
            frames = self.frames or self.otherwise or DEFAULT_FRAMES
            return Loop(self.truncation, anchors, latent_dim, frames)
        return Seeds(self.truncation, self._seeds(), latent_dim)

    def _seeds(self) -> Sequence[int]:
        if self.seeds is not None:
            return parse_seeds(self.seeds)
        first = self.first or 0
        count = self.count or self.otherwise or DEFAULT_COUNT
        check_seed(first)
        check_seed(first + count - 1)
        return range(first, first + count)
