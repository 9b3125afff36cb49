"""Data range: which values of 16-bit, signed or floating-point data are black and white."""

import numpy as np
import numpy.typing as npt

from wgan.errors import ImageError
from wgan.options import parse_value_range

DataRange = tuple[float, float]
"""The values of black and white, in units of the data."""


def parse_data_range(text: str) -> DataRange | None:
    """Parse `"50,208"`; None for an empty text, which leaves the range to the type of the data.

    Raises:
        UsageError: the text has another form.
    """
    return parse_value_range(text, "--range", "50,208, or auto") if text else None


def data_range_text(data_range: DataRange) -> str:
    """Write a range as `parse_data_range` reads it, exactly."""
    return ",".join(f"{value:.17g}" if value % 1 else f"{value:.0f}" for value in data_range)


def to_bytes(
    values: npt.NDArray[np.generic], data_range: DataRange | None
) -> npt.NDArray[np.uint8]:
    """Map the range to 0..255, rounded; values outside become black or white, NaN black.

    Without a range, uint8 stays as it is, and of uint16 all 16 bits are the range.

    Raises:
        ImageError: no range is given and the type has no standard one, or all values are NaN.
    """
    if data_range is None:
        return _by_type(values)
    low, high = data_range
    # float64: float32 has too few digits for 32-bit integers
    scaled = (values.astype(np.float64) - low) / (high - low) * 255
    missing = np.isnan(scaled)
    if missing.size and missing.all():
        raise ImageError("it has no data: all its values are NaN")
    scaled[missing] = 0  # NaN is how rasters mark pixels without data
    return np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)


def _by_type(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if (values.dtype.kind, values.dtype.itemsize) == ("u", 2):  # of either byte order
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    kind = "floating-point" if values.dtype.kind == "f" else values.dtype.name
    raise ImageError(
        f"it has {kind} values, which have no standard range: train with --range LOW,HIGH,"
        " the values of black and white, or prepare with --size and --range LOW,HIGH or auto"
    )
