"""What people's addresses ask for, read from a URL or a JSON body."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.datastructures import QueryParams

from wgan.errors import UsageError
from wgan.latents import SEED_LIMIT, Latents, format_seeds, parse_seeds
from wgan.runtime.latent_sources import SeedLatents
from wgan.server.latents import Wanted, WantedLatents, WantedPath, read_truncation
from wgan.server.request_error import bad_request
from wgan.server.scheduler import check_count
from wgan.text import shorten

SEEDS_TEXT_LIMIT = 4096
"""Characters of a list of seeds."""


@dataclass(frozen=True)
class ImageRequest:
    """Images that are asked for."""

    wanted: Wanted
    names: tuple[str, ...]  # what to call each image
    text: str  # says all that decides the images, but for the model


def read_seed(text: str) -> int:
    """Read one seed. Raises RequestError."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= SEED_LIMIT:
        raise bad_request(f"seed {shorten(text)} is not allowed: 0 to {SEED_LIMIT - 1}")
    return int(text)


def read_seeds(text: str, limit: int) -> Sequence[int]:
    """Read seeds as `wgan.latents.parse_seeds` does, at most `limit`. Raises RequestError."""
    if len(text) > SEEDS_TEXT_LIMIT:
        raise bad_request(
            f"seeds have {len(text)} characters; at most {SEEDS_TEXT_LIMIT} are allowed"
        )
    try:
        return parse_seeds(text, limit)
    except UsageError as exc:
        raise bad_request(str(exc)) from exc


def check_query(query: QueryParams, *known: str) -> None:
    """Raise RequestError for a URL parameter that is not `known` or is given twice."""
    for name in query:
        if name not in known:
            allowed = ", ".join(known) if known else "none"
            raise bad_request(f"parameter {shorten(name)} is not known here: {allowed}")
        if len(query.getlist(name)) > 1:
            raise bad_request(f"parameter {name} is given twice or more often")


def read_number(query: Mapping[str, str], name: str, default: float) -> float:
    """A finite number of a URL's query. Raises RequestError."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{0,9}(\.[0-9]{0,9})?", text) or text in ("", "."):
        raise bad_request(f"{name} {shorten(text)} is not a number such as 0.7")
    return float(text)


def image_request_of_seeds(
    seeds: Sequence[int], latent_dim: int, truncation: float
) -> ImageRequest:
    """The images of seeds."""
    return ImageRequest(
        SeedLatents(truncation, seeds, latent_dim),
        tuple(f"{seed:08d}" for seed in seeds),
        f"seeds {format_seeds(seeds)} truncation {truncation!r}",
    )


def interpolation_request(
    first: int, second: int, positions: Sequence[float], latent_dim: int, truncation: float
) -> ImageRequest:
    """Images on the way from one seed's to another's; each position is 0 to 1."""
    return ImageRequest(
        WantedPath(first, second, tuple(positions), latent_dim, truncation),
        tuple(f"{first}-{second}-{number:03d}" for number in range(len(positions))),
        f"between {first} {second} at {positions!r} truncation {truncation!r}",
    )


def parse_image_request(content: dict[str, Any], latent_dim: int, limit: int) -> ImageRequest:
    """Read the body of `sample`: `seeds`, `latents`, or `first`, `second` and `steps`.

    Raises:
        RequestError: a field is wrong, or none or several ways are used.
    """
    unknown = content.keys() - {"seeds", "latents", "first", "second", "steps", "truncation"}
    if unknown:
        raise bad_request(f"field {shorten(min(unknown))} is not known: see /docs")
    truncation = read_truncation(content.get("truncation", 1.0))
    ways = [way for way in ("seeds", "latents", "first") if way in content]
    if len(ways) != 1 or ("second" in content) != ("first" in content):
        raise bad_request("give one of: seeds, latents, or first and second with steps")
    if ways == ["latents"]:
        rows = _read_latents(content["latents"], latent_dim)
        names = tuple(f"{number:08d}" for number in range(len(rows)))
        return ImageRequest(WantedLatents(rows, truncation), names, "latents")
    if ways == ["seeds"]:
        seeds = _read_seed_field(content["seeds"], limit)
        check_count(len(seeds), limit)
        return image_request_of_seeds(seeds, latent_dim, truncation)
    first, second = (_check_seed(content[key]) for key in ("first", "second"))
    positions = _read_positions(content.get("steps", 16), limit)
    return interpolation_request(first, second, positions, latent_dim, truncation)


def _read_seed_field(value: object, limit: int) -> Sequence[int]:
    if isinstance(value, str):
        return read_seeds(value, limit)
    if not isinstance(value, list):
        raise bad_request(f'seeds are {shorten(value)}: a list, or text as in "0-63", is needed')
    check_count(len(value), limit)
    return [_check_seed(seed) for seed in value]


def _check_seed(value: object) -> int:
    if type(value) is not int or not 0 <= value < SEED_LIMIT:
        raise bad_request(f"seed {shorten(value)} is not allowed: 0 to {SEED_LIMIT - 1}")
    return value


def _read_positions(steps: object, limit: int) -> list[float]:
    if type(steps) is not int or not 2 <= steps <= limit:
        raise bad_request(f"steps {shorten(steps)} are not allowed: 2 to {limit}")
    return [step / (steps - 1) for step in range(steps)]


def _read_latents(value: object, latent_dim: int) -> Latents:
    if not isinstance(value, list) or not value:
        raise bad_request(f"latents are {shorten(value)}: a list of rows is needed")
    for row in value:
        if not isinstance(row, list) or len(row) != latent_dim or not _are_latents(row):
            raise bad_request(
                f"a row of latents is {shorten(row)}: {latent_dim} finite numbers are needed"
            )
    return np.array(value, np.float32)


def _are_latents(row: list[Any]) -> bool:
    largest = float(np.finfo(np.float32).max)
    return set(map(type, row)) <= {int, float} and all(
        math.isfinite(number) and abs(number) <= largest for number in row
    )
