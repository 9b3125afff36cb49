"""Layout of arrays: which axes are images, height, width and bands."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, ImageError

MAX_BANDS = 16
"""An axis of at most this length can be that of the bands."""

MIN_SIDE = 4
"""Arrays with a shorter side are no images."""

MAX_COLOURS = 4
"""An array of more bands is rather several images than one."""

AXES = "in NumPy, array.transpose changes the order of axes"


class ArrayLayout(NamedTuple):
    """How one image lies in an array."""

    height: int
    width: int
    bands: int = 1
    bands_first: bool = False

    def arrange(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return one image as `[height, width, bands]`."""
        if self.bands_first:
            return values.reshape(self.bands, self.height, self.width).transpose(1, 2, 0)
        return values.reshape(self.height, self.width, self.bands)


def find_layout(shape: Sequence[int]) -> ArrayLayout | None:
    """Return the layout of one image of this shape; None if it is unclear or no image.

    Two axes are a grey image. Of three the shorter outer one, up to MAX_BANDS, has the bands. One
    axis is a square image, grey, or of three colours, band by band, as in CIFAR.
    """
    layout = None
    if len(shape) == 1 and shape[0] > 0:
        for bands in (1, 3):
            side = math.isqrt(shape[0] // bands)
            if bands * side * side == shape[0]:
                layout = ArrayLayout(side, side, bands, bands_first=bands > 1)
    elif len(shape) == 2:
        layout = ArrayLayout(shape[0], shape[1])
    elif len(shape) == 3 and min(shape[0], shape[2]) <= MAX_BANDS and shape[0] != shape[2]:
        is_first = shape[0] < shape[2]
        height, width, bands = (*shape[1:], shape[0]) if is_first else shape
        layout = ArrayLayout(height, width, bands, is_first)
    if layout is None or min(layout.height, layout.width) < MIN_SIDE or not layout.bands:
        return None
    return layout


def layout_of(shape: Sequence[int], dtype: np.dtype[Any], name: str) -> ArrayLayout:
    """Return the layout of images in the array `name`, `[n, ...]`.

    Raises:
        DataError: it is no array of images, or only the user can tell which axis is which.
    """
    layout = find_layout(shape[1:])
    is_single = len(shape) == 3 and (
        min(shape[1:]) < MIN_SIDE or (shape[2] <= MAX_COLOURS and min(shape[:2]) > MAX_BANDS)
    )
    if dtype.kind in "uifb" and layout is not None and shape[0] and not is_single:
        return layout
    advice = "[n, height, width], [n, height, width, channels] or [n, channels, height, width]"
    if dtype.kind == "O":
        advice = "plain numbers: Python objects are not read, because that would run their code"
    elif dtype.names:
        advice = f"plain numbers: save each of its fields ({', '.join(dtype.names)}) as an array"
    elif dtype.kind not in "uifbc":
        advice = "numbers, the pixels of images"
    elif dtype.kind == "c":
        advice = "real numbers, as np.abs or np.real returns them"
    elif len(shape) and not shape[0]:
        advice = "one or more images: it is empty"
    elif is_single:
        advice = "many images: this looks like a single one"
    else:
        advice += f"; {AXES}"
    raise DataError(f"{name} is an array of {dtype} {list(shape)}, but must be {advice}")


def resolve_layout(rows: npt.NDArray[np.generic], layout: ArrayLayout) -> ArrayLayout:
    """Tell colours band by band from colours pixel by pixel in flat images, `[n, values]`.

    The right one has the smaller differences of neighbouring values.
    """
    if layout.bands == 1:
        return layout
    others = (layout, layout._replace(bands_first=not layout.bands_first))
    return min(others, key=lambda other: _variation(rows, other))


def _variation(rows: npt.NDArray[np.generic], layout: ArrayLayout) -> float:
    images = np.stack([layout.arrange(row) for row in rows]).astype(np.float64)
    return sum(float(np.abs(np.diff(images, axis=axis)).mean()) for axis in (1, 2))


def as_image(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Arrange the array of one image as `[height, width, bands]`. Raises ImageError."""
    layout = find_layout(values.shape)
    if layout is None or values.ndim == 1 or values.dtype.kind not in "uifb":
        raise ImageError(f"an array of {values.dtype} {list(values.shape)} is not one image")
    return layout.arrange(values)
