"""One way to run an export, tried against the reference."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import ParityError, WganError
from wgan.export.parity.reference import Latents, Reference
from wgan.images import Images, Pixels
from wgan.model_file.difference import PixelTally
from wgan.model_file.manifest import Distance

Draw = Callable[[Latents], tuple[Images, Pixels]]
"""Latents -> images and pixels of the same batch."""


@dataclass(frozen=True)
class Engine:
    """One way to run an export."""

    provider: str
    run: Draw
    optimization: str | None = None  # ONNX Runtime's: "all" or "none"
    threads: int | None = None

    def __str__(self) -> str:
        if self.threads is None:
            return self.provider
        return f"{self.provider}, optimizations {self.optimization}, threads {self.threads}"


class Trial:
    """An engine's batches against the reference: each compared at once, all summed up.

    Args:
        engine: what is tried.
        reference: the truth.
        allowed: the largest distance that passes.
        goldens: seeds whose distance is wanted one by one.
    """

    def __init__(
        self, engine: Engine, reference: Reference, allowed: Distance, goldens: range
    ) -> None:
        self.engine, self.reference, self.allowed = engine, reference, allowed
        self.images = self.float64_images = 0.0  # the largest differences
        self.goldens: dict[int, PixelTally] = {seed: PixelTally() for seed in goldens}
        self._tally = PixelTally()

    def run(self, rows: slice) -> None:
        """Draw the seeds of `rows` as one batch and compare it. Raises ParityError."""
        reference = self.reference
        try:
            images, pixels = self.engine.run(reference.latents[rows])
        except WganError as exc:
            raise ParityError(f"the export fails on {self._named(rows)}: {exc}") from exc
        off = self._compare("images", images, reference.images[rows], self.allowed.images, rows)
        self.images = max(self.images, off)
        if rows.stop <= len(reference.images64):
            # In float64 as referee: PyTorch's own rounding cannot excuse the export's.
            truth = reference.images64[rows]
            off = self._compare("images", images, truth, self.allowed.images, rows)
            self.float64_images = max(self.float64_images, off)
        expected = reference.pixels[rows]
        self._compare("pixels", pixels, expected, self.allowed.pixels, rows)
        self._tally.add(pixels, expected)
        for seed in self.goldens.keys() & set(range(rows.start, rows.stop)):
            self.goldens[seed].add(pixels[seed - rows.start], expected[seed - rows.start])

    def distance(self) -> Distance:
        """How far all batches were. Raises ParityError for the mean and the PSNR."""
        distance = Distance(
            images=rounded_up(self.images),
            pixels=self._tally.largest,
            mean_pixels=rounded_up(self._tally.mean),
            psnr=self._tally.psnr,
        )
        if distance.mean_pixels > self.allowed.mean_pixels:
            raise ParityError(
                f"the export does not match PyTorch: pixels differ by {distance.mean_pixels:.3g} of"
                f" 255 on average and may by {self.allowed.mean_pixels:g}, on {self.engine}"
            )
        if distance.psnr < self.allowed.psnr:
            raise ParityError(
                f"the export does not match PyTorch: the PSNR is {distance.psnr:.1f} dB and must be"
                f" {self.allowed.psnr:g}, on {self.engine}"
            )
        return distance

    def _compare(
        self,
        name: str,
        got: npt.NDArray[Any],
        expected: npt.NDArray[Any],
        allowed: float,
        rows: slice,
    ) -> float:
        """The largest absolute difference. Raises ParityError where it is over `allowed`."""
        self._check_kind(name, got, expected.shape, rows)
        difference = np.abs(got.astype(np.float64) - expected)
        where = np.unravel_index(np.argmax(difference), difference.shape)  # a NaN is the largest
        largest = float(difference[where])
        if not largest <= allowed:
            position = ", ".join(str(index) for index in where[1:])
            truth = " in float64" if expected.dtype == np.float64 else ""
            raise ParityError(
                f"the export does not match PyTorch{truth}: {name} of seed"
                f" {rows.start + int(where[0])} at [{position}] are {got[where]:g}, not"
                f" {expected[where]:g}, on {self._named(rows)}; they differ by {largest:.3g} and"
                f" may by {allowed:g}"
            )
        return largest

    def _check_kind(
        self, name: str, got: npt.NDArray[Any], shape: tuple[int, ...], rows: slice
    ) -> None:
        kind = np.dtype(np.float32 if name == "images" else np.uint8)
        if got.shape != shape or got.dtype != kind:
            raise ParityError(
                f"the export does not match PyTorch: its {name} are {got.dtype}{list(got.shape)}"
                f" where {kind}{list(shape)} is wanted, on {self._named(rows)}"
            )

    def _named(self, rows: slice) -> str:
        size = rows.stop - rows.start
        return f"a batch of {size} (seeds {rows.start}-{rows.stop - 1}), {self.engine}"


def rounded_up(difference: float) -> float:
    """Two digits, upwards: what a receipt needs, and the same wherever the sums end alike."""
    if difference == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(difference)) - 1)
    return float(f"{math.ceil(difference / unit) * unit:.1e}")
