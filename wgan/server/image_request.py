"""Images requested under `/v1`: by seeds, by latents, or as an interpolation of two seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from wgan.errors import UsageError
from wgan.latents import format_seeds, latents_from_seeds, parse_seeds
from wgan.runtime.latent_sources import SeedLatents, slerp
from wgan.server.batcher import Latents
from wgan.server.messages import SampleRequest
from wgan.server.request_error import bad_request
from wgan.server.scheduler import check_count


@dataclass(frozen=True)
class ArrayLatents:
    """Latents that are at hand, `[n, latent_dim]`."""

    rows: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    def latents(self, positions: Sequence[int]) -> npt.NDArray[np.float32]:
        """The rows at `positions`."""
        return self.rows[list(positions)]


@dataclass(frozen=True)
class ImageRequest:
    """Requested images."""

    latents: Latents
    names: tuple[str, ...]  # of the images' files in an archive, without .png
    cache_key: str  # with the model, determines the images


def from_seeds(seeds: Sequence[int], latent_dim: int, truncation: float) -> ImageRequest:
    """Request the images of seeds."""
    return ImageRequest(
        SeedLatents(truncation, seeds, latent_dim),
        tuple(f"{seed:08d}" for seed in seeds),
        f"seeds {format_seeds(seeds)} truncation {truncation!r}",
    )


def interpolation(
    first: int, second: int, positions: Sequence[float], latent_dim: int, truncation: float
) -> ImageRequest:
    """Request images on the great circle from one seed's latent (position 0) to another's (1)."""
    start, end = latents_from_seeds([first, second], latent_dim)
    rows = np.stack([slerp(start, end, position) for position in positions])
    return ImageRequest(
        ArrayLatents(rows * np.float32(truncation)),
        tuple(f"{first}-{second}-{number:03d}" for number in range(len(positions))),
        f"between {first} {second} at {positions!r} truncation {truncation!r}",
    )


def from_latents(
    values: Sequence[Sequence[float]], latent_dim: int, truncation: float
) -> ImageRequest:
    """Request the images of latents. Raises RequestError unless they fit the model."""
    largest = np.finfo(np.float32).max
    for row, numbers in enumerate(values):
        if len(numbers) != latent_dim:
            raise bad_request(
                f"latents[{row}] has {len(numbers)} numbers: this model needs {latent_dim}"
            )
        if max(map(abs, numbers)) > largest:
            raise bad_request(f"latents[{row}] holds a number beyond the range of float32")
    rows = np.array(values, np.float32) * np.float32(truncation)
    names = tuple(f"{number:08d}" for number in range(len(rows)))
    return ImageRequest(ArrayLatents(rows), names, "latents")


def parse_ranges(text: str, limit: int) -> Sequence[int]:
    """Read seeds and ranges, at most `limit` seeds. Raises RequestError."""
    try:
        return parse_seeds(text, limit)
    except UsageError as exc:
        raise bad_request(str(exc)) from exc


def parse_image_request(request: SampleRequest, latent_dim: int, limit: int) -> ImageRequest:
    """Return the images of a `sample` request, at most `limit`. Raises RequestError."""
    given = [name for name in ("seeds", "latents", "first") if getattr(request, name) is not UNSET]
    if len(given) != 1 or (request.first is UNSET) != (request.second is UNSET):
        raise bad_request("give one of: seeds; latents; first and second, with steps")
    if request.latents is not UNSET:
        check_count(len(request.latents), limit)
        return from_latents(request.latents, latent_dim, request.truncation)
    if request.seeds is not UNSET:
        text = request.seeds
        seeds = parse_ranges(text, limit) if isinstance(text, str) else text
        check_count(len(seeds), limit)
        return from_seeds(seeds, latent_dim, request.truncation)
    assert request.first is not UNSET
    assert request.second is not UNSET
    check_count(request.steps, limit)
    positions = [step / (request.steps - 1) for step in range(request.steps)]
    return interpolation(request.first, request.second, positions, latent_dim, request.truncation)
