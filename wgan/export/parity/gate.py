"""The parity gate: an export must give the images that the EMA generator gives in PyTorch.

The proof has four parts, one in each file of this folder: the reference (PyTorch's images), the
engines (every way to run the file), the comparison of one with the other, and here the receipt,
which records all that was tried and how large the differences were.
"""

from collections.abc import Iterable
from typing import TypeVar

from wgan.export.parity.comparison import EngineComparison, round_up
from wgan.export.parity.engines import Engine
from wgan.export.parity.reference import BATCH_SIZES, Reference
from wgan.images import encode
from wgan.latents import format_seeds
from wgan.model_file.manifest import Distance, Golden, Receipt

_T = TypeVar("_T", str, int)

GOLDEN_SEEDS = range(4)
"""The seeds whose images are stored in the file, so that it can be verified without PyTorch."""


def prove(
    engines: Iterable[Engine], reference: Reference, allowed: Distance, *, loosened: bool
) -> Receipt:
    """Compare each engine with `reference` at every batch size, the first one at every seed.

    Args:
        engines: the engines; each is opened when the one before it is done.
        reference: PyTorch's images.
        allowed: the largest distance that passes.
        loosened: whether `allowed` exceeds wgan's own tolerance; it goes into the receipt.

    Raises:
        ParityError: an engine fails, gives another shape or type, or differs by more than
            `allowed`.
    """
    comparisons: list[EngineComparison] = []
    distances: list[Distance] = []
    for engine in engines:
        comparison = EngineComparison(engine, reference, allowed, GOLDEN_SEEDS)
        batches = list(reference.batches())
        if not comparisons:  # engines of one file hardly differ: more seeds once are enough
            batches += reference.remaining()
        for rows in batches:
            comparison.compare(rows)
        comparisons.append(comparison)
        distances.append(comparison.distance())
    tried = [comparison.engine for comparison in comparisons]
    return Receipt(
        seeds=format_seeds(range(len(reference.latents))),
        batch_sizes=BATCH_SIZES,
        providers=_unique(engine.provider for engine in tried),
        optimizations=_unique(engine.optimization for engine in tried),
        threads=_unique(engine.threads for engine in tried),
        seen=_largest(distances),
        allowed=allowed,
        loosened=loosened,
        float64_images=round_up(max(comparison.float64_images for comparison in comparisons)),
        goldens=tuple(_golden(seed, reference, comparisons) for seed in GOLDEN_SEEDS),
    )


def _golden(seed: int, reference: Reference, comparisons: list[EngineComparison]) -> Golden:
    psnr = min(comparison.goldens[seed].psnr for comparison in comparisons)
    return Golden(seed=seed, png=encode(reference.pixels[seed]), psnr=psnr)


def _largest(distances: list[Distance]) -> Distance:
    return Distance(
        images=max(distance.images for distance in distances),
        pixels=max(distance.pixels for distance in distances),
        mean_pixels=max(distance.mean_pixels for distance in distances),
        psnr=min(distance.psnr for distance in distances),
    )


def _unique(values: Iterable[_T | None]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))
