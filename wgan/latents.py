"""Seeds to latents: the one definition that training, export, sampling and serving share."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError

SEED_LIMIT = 2**32
"""Seeds are 0 to 2**32 - 1."""

PREVIEW_SEEDS = range(64)
"""What a preview, and a sample that names no seeds, shows."""


def latents_from_seeds(seeds: Sequence[int], latent_dim: int) -> npt.NDArray[np.float32]:
    """Draw the latents of `seeds`: float32 `[len(seeds), latent_dim]`, standard normal.

    Row k depends on `seeds[k]` and `latent_dim` alone. `numpy.random.RandomState` is used since
    its stream is frozen (NEP 19), so a seed means the same image on every host, for good.

    Raises:
        UsageError: a seed is outside 0 to 2**32 - 1.
    """
    drawn = np.empty((len(seeds), latent_dim), dtype=np.float32)
    random = np.random.RandomState(0)  # to make one takes twenty times as long as to seed it
    for row, seed in enumerate(seeds):
        check_seed(seed)
        random.seed(seed)
        drawn[row] = random.standard_normal(latent_dim)
    return drawn


def check_seed(seed: int) -> None:
    """Raise UsageError unless `seed` is 0 to 2**32 - 1."""
    if not 0 <= seed < SEED_LIMIT:
        raise UsageError(f"seed {seed} is not allowed: seeds are 0 to {SEED_LIMIT - 1}")


def parse_seeds(text: str, limit: int = SEED_LIMIT) -> Sequence[int]:
    """Read seeds and inclusive ranges, `"0,1,4-6"` -> `[0, 1, 4, 5, 6]`, in the order written.

    A single range stays a `range`, so that a million seeds take no memory. `limit` is how many
    there may be, counted before any list is made.

    Raises:
        UsageError: something else is written, a seed is outside 0 to 2**32 - 1, or there are too
            many.
    """
    ranges = [_parse_range(part.strip(), text) for part in text.split(",")]
    count = sum(map(len, ranges))
    if count > limit:
        raise UsageError(f"seeds {_shorten(text)} are {count}; at most {limit} are allowed")
    if len(ranges) == 1:
        return ranges[0]
    return [seed for part in ranges for seed in part]


def _parse_range(part: str, text: str) -> range:
    first, dash, last = part.partition("-")
    if not _is_number(first) or (dash and not _is_number(last)):
        raise UsageError(
            f"seeds {_shorten(text)} cannot be read: write numbers and ranges, as in 0,1,4-6"
        )
    low, high = int(first), int(last or first)
    check_seed(low)
    check_seed(high)
    if high < low:
        raise UsageError(
            f"the range {part} in seeds {_shorten(text)} runs backwards: write {high}-{low}"
        )
    return range(low, high + 1)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 100  # Python refuses to read thousands of digits


def _shorten(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def format_seeds(seeds: Iterable[int]) -> str:
    """Write seeds the way `parse_seeds` reads them: `[0, 1, 2, 5]` -> `"0-2,5"`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
