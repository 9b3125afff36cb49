"""Seeds to latents and labels: what training, export, sampling and serving share."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.text import shorten

Latents = npt.NDArray[np.float32]
"""`[n, latent_dim]`, standard normal."""

Labels = npt.NDArray[np.int64]
"""Class indices, `[n]`."""

ClassWeights = npt.NDArray[np.float32]
"""How much of each class an image has, `[n, classes]`; a row has the sum 1."""

ClassInput = Labels | ClassWeights
"""What says the class of each image: labels, or class weights."""

ModelInputs = tuple[Latents] | tuple[Latents, Labels]
"""What a generator runs on: latents, and labels if it has classes."""

SEED_LIMIT = 2**32
"""Seeds are 0 to 2**32 - 1."""

PREVIEW_SEEDS = range(64)
"""Seeds of previews, and the default seeds of `wgan sample`."""


def latents_from_seeds(seeds: Sequence[int], latent_dim: int) -> Latents:
    """Return the latents of `seeds`: float32 `[len(seeds), latent_dim]`, standard normal.

    Row k depends only on `seeds[k]` and `latent_dim`. `numpy.random.RandomState` is used because
    its stream is frozen (NEP 19): a seed gives the same image on every host and NumPy version.

    Raises:
        UsageError: a seed is outside 0 to 2**32 - 1.
    """
    latents = np.empty((len(seeds), latent_dim), dtype=np.float32)
    random = np.random.RandomState(0)  # creating one takes 20 times as long as seeding it
    for row, seed in enumerate(seeds):
        check_seed(seed)
        random.seed(seed)
        latents[row] = random.standard_normal(latent_dim)
    return latents


def labels_from_seeds(seeds: Sequence[int], classes: int) -> Labels:
    """Return the labels that seeds have where none are given, `seed % classes`: int64 `[n]`."""
    return np.asarray(seeds, np.int64) % classes


def inputs_from_seeds(seeds: Sequence[int], latent_dim: int, classes: int) -> ModelInputs:
    """Return the latents of `seeds`, and their labels for a generator with `classes`."""
    latents = latents_from_seeds(seeds, latent_dim)
    return (latents, labels_from_seeds(seeds, classes)) if classes else (latents,)


def check_seed(seed: int) -> None:
    """Raise UsageError unless `seed` is 0 to 2**32 - 1."""
    if not 0 <= seed < SEED_LIMIT:
        raise UsageError(f"seed {seed} is not allowed: seeds are 0 to {SEED_LIMIT - 1}")


def parse_seeds(text: str, limit: int = SEED_LIMIT) -> Sequence[int]:
    """Parse seeds and inclusive ranges, `"0,1,4-6"` -> `[0, 1, 4, 5, 6]`, in the order given.

    A single range stays a `range`, so that a million seeds take no memory. `limit` is the largest
    number of seeds; they are counted before a list is made.

    Raises:
        UsageError: the text has another form, a seed is outside 0 to 2**32 - 1, or there are too
            many seeds.
    """
    ranges = [_parse_range(part.strip(), text) for part in text.split(",")]
    count = sum(map(len, ranges))
    if count > limit:
        raise UsageError(f"seeds {shorten(text, 80)} are {count}; at most {limit} are allowed")
    if len(ranges) == 1:
        return ranges[0]
    return [seed for part in ranges for seed in part]


def _parse_range(part: str, text: str) -> range:
    first, dash, last = part.partition("-")
    if not _is_number(first) or (dash and not _is_number(last)):
        raise UsageError(
            f"seeds {shorten(text, 80)} are not allowed: write numbers and ranges, as in 0,1,4-6"
        )
    low, high = int(first), int(last or first)
    check_seed(low)
    check_seed(high)
    if high < low:
        raise UsageError(
            f"the range {part} in seeds {shorten(text, 80)} runs backwards: write {high}-{low}"
        )
    return range(low, high + 1)


def _is_number(text: str) -> bool:
    # Python refuses to convert thousands of digits, with a ValueError.
    return text.isdecimal() and len(text) <= 100


def format_seeds(seeds: Iterable[int]) -> str:
    """Format seeds as `parse_seeds` reads them: `[0, 1, 2, 5]` -> `"0-2,5"`."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
