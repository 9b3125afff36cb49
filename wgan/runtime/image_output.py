"""The image output of a graph, in any layout and range, and its conversion to images and pixels."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wgan.images import Images, Pixels, to_images, to_pixels

Layout = Literal["nchw", "nhwc"]
"""Axes of the images: `[n, channels, height, width]` or `[n, height, width, channels]`."""

ValueRange = tuple[float, float]
"""The values that are black and white."""


@dataclass(frozen=True)
class ImageOutput:
    """An output that holds images."""

    name: str
    layout: Layout
    value_range: ValueRange | None  # None for uint8

    def images(self, raw: npt.NDArray[np.generic]) -> Images:
        """Convert the graph's output to float images `[n, c, h, w]` in [-1, 1]."""
        if self.value_range is None:
            return to_images(self._channels_last(raw.astype(np.uint8, copy=False)))
        values = raw.astype(np.float32, copy=False)
        images = values if self.layout == "nchw" else values.transpose(0, 3, 1, 2)
        low, high = self.value_range
        if (low, high) == (-1, 1):  # unchanged to the bit
            return images
        return ((images - np.float32(low)) * np.float32(2 / (high - low)) - 1).astype(np.float32)

    def pixels(self, raw: npt.NDArray[np.generic]) -> Pixels:
        """Convert the graph's output to pixels `[n, h, w, c]`."""
        if self.value_range is None:
            return self._channels_last(raw.astype(np.uint8, copy=False))
        return to_pixels(self.images(raw))

    def shape(self, n: int, height: int, width: int, channels: int) -> tuple[int, int, int, int]:
        """Shape of the output for `n` images of this size."""
        if self.layout == "nchw":
            return (n, channels, height, width)
        return (n, height, width, channels)

    def _channels_last(self, raw: npt.NDArray[np.uint8]) -> Pixels:
        return raw if self.layout == "nhwc" else raw.transpose(0, 2, 3, 1)
