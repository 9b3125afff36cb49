"""The difference between two sets of pixels: one measure for the parity gate and `wgan verify`."""

import math

import numpy as np

from wgan.images import Pixels
from wgan.model_file.manifest import PSNR_LIMIT


class PixelDifference:
    """Largest, mean and mean squared difference of pixels, summed over batches."""

    def __init__(self) -> None:
        self.largest = 0
        self._sum = self._squares = self._count = 0

    def add(self, pixels: Pixels, expected: Pixels) -> None:
        """Add the differences of two batches of the same shape."""
        difference = np.abs(pixels.astype(np.int64) - expected)
        self.largest = max(self.largest, int(difference.max()))
        self._sum += int(difference.sum())
        self._squares += int(np.square(difference).sum())
        self._count += difference.size

    @property
    def mean(self) -> float:
        """Mean absolute difference, of 255."""
        return self._sum / self._count

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels, rounded down to a tenth."""
        if self._squares == 0:
            return PSNR_LIMIT
        ratio = 255**2 * self._count / self._squares
        return min(PSNR_LIMIT, math.floor(100 * math.log10(ratio)) / 10)
