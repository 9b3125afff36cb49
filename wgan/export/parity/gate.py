"""The parity gate: an export must give the images that the EMA generator gives in PyTorch.

`reference.py` has PyTorch's images, `engines.py` every way to run the file. Here each engine is
compared with the reference, batch by batch, and the receipt records all that was tried and how
large the differences were.
"""

import logging
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from wgan.errors import ParityError, WganError
from wgan.export.parity.engines import Engine
from wgan.export.parity.reference import BATCH_SIZES, Reference
from wgan.images import encode
from wgan.latents import format_seeds
from wgan.model_file.manifest import Distance, Golden, Receipt
from wgan.runtime.verification import PixelDifference
from wgan.stop import check_stop

logger = logging.getLogger(__name__)

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
        logger.info("comparing with PyTorch: %s", engine)
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


class EngineComparison:
    """The differences between an engine's images and the reference, over all batches.

    Args:
        engine: the engine under test.
        reference: PyTorch's images.
        allowed: the largest distance that passes.
        golden_seeds: the seeds whose differences are also kept one by one.
    """

    def __init__(
        self, engine: Engine, reference: Reference, allowed: Distance, golden_seeds: range
    ) -> None:
        self.engine, self.reference, self.allowed = engine, reference, allowed
        self.images = self.float64_images = 0.0  # the largest differences so far
        self.goldens = {seed: PixelDifference() for seed in golden_seeds}
        self._pixels = PixelDifference()

    def compare(self, rows: slice) -> None:
        """Run the seeds of `rows` as one batch and compare each value. Raises ParityError."""
        check_stop()
        reference = self.reference
        try:
            images, pixels = self.engine.run(reference.latents[rows])
        except WganError as exc:
            raise ParityError(f"the export fails on {self._batch(rows)}: {exc}") from exc
        largest = self._compare("images", images, reference.images, self.allowed.images, rows)
        self.images = max(self.images, largest)
        if rows.stop <= len(reference.images64):
            largest = self._compare("images", images, reference.images64, self.allowed.images, rows)
            self.float64_images = max(self.float64_images, largest)
        self._compare("pixels", pixels, reference.pixels, self.allowed.pixels, rows)
        self._pixels.add(pixels, reference.pixels[rows])
        for seed in self.goldens.keys() & set(range(rows.start, rows.stop)):
            self.goldens[seed].add(pixels[seed - rows.start], reference.pixels[seed])

    def distance(self) -> Distance:
        """Return the distance over all batches. Raises ParityError for the mean and the PSNR."""
        distance = Distance(
            images=round_up(self.images),
            pixels=self._pixels.largest,
            mean_pixels=round_up(self._pixels.mean),
            psnr=self._pixels.psnr,
        )
        if distance.mean_pixels > self.allowed.mean_pixels:
            raise ParityError(
                "the export does not match PyTorch: the mean difference of pixels is"
                f" {distance.mean_pixels:.3g} of 255; at most {self.allowed.mean_pixels:g} is"
                f" allowed (--tolerance-mean-pixels), on {self.engine}"
            )
        if distance.psnr < self.allowed.psnr:
            raise ParityError(
                f"the export does not match PyTorch: the PSNR of pixels is {distance.psnr:.1f} dB;"
                f" at least {self.allowed.psnr:g} is needed (--tolerance-psnr), on {self.engine}"
            )
        return distance

    def _compare(
        self,
        name: str,
        actual: npt.NDArray[Any],
        reference: npt.NDArray[Any],
        allowed: float,
        rows: slice,
    ) -> float:
        """Return the largest absolute difference. Raises ParityError if it exceeds `allowed`."""
        expected = reference[rows]
        self._check_type(name, actual, expected.shape, rows)
        difference = np.abs(actual.astype(np.float64) - expected)
        index = np.unravel_index(np.argmax(difference), difference.shape)  # argmax finds a NaN
        largest = float(difference[index])
        if not largest <= allowed:  # written so that a NaN fails
            position = ", ".join(map(str, index[1:]))
            float64 = " in float64" if expected.dtype == np.float64 else ""
            raise ParityError(
                f"the export does not match PyTorch{float64}: {name} of seed"
                f" {rows.start + int(index[0])} at [{position}] are {actual[index]:g}, not"
                f" {expected[index]:g}, on {self._batch(rows)}; they differ by {largest:.3g}, and"
                f" at most {allowed:g} is allowed (--tolerance-{name})"
            )
        return largest

    def _check_type(
        self, name: str, actual: npt.NDArray[Any], shape: tuple[int, ...], rows: slice
    ) -> None:
        dtype = np.dtype(np.float32 if name == "images" else np.uint8)
        if actual.shape != shape or actual.dtype != dtype:
            raise ParityError(
                f"the export does not match PyTorch: its {name} are"
                f" {actual.dtype}{list(actual.shape)}, not {dtype}{list(shape)}, on"
                f" {self._batch(rows)}"
            )

    def _batch(self, rows: slice) -> str:
        size = rows.stop - rows.start
        return f"a batch of {size} (seeds {rows.start}-{rows.stop - 1}), {self.engine}"


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


def round_up(difference: float) -> float:
    """Round up to two digits.

    Two digits are enough for a receipt, and machines whose sums end in other bits agree on them.
    """
    if difference == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(difference)) - 1)
    return float(f"{math.ceil(difference / unit) * unit:.1e}")
