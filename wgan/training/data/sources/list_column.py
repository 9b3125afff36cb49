"""Images as lists in the column of a table: nested ones, or the flat values of a square image."""

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, ImageError
from wgan.training.data.sources.arrays.layout import (
    as_image,
    find_layout,
    resolve_layout,
)

if TYPE_CHECKING:
    import pyarrow as pa


class ListColumn:
    """How the lists of a column are images.

    Raises:
        DataError: its first rows are flat lists that are no square images.
    """

    def __init__(self, first: Iterable[Any], name: str) -> None:
        """`first` are the first rows as Arrow's scalars, `name` is the column in messages."""
        rows = []
        for value in first:
            with contextlib.suppress(ImageError):  # reported when all images are loaded
                rows.append(list_values(value))
        self._layout = None
        if not rows or rows[0].ndim > 1:
            return
        rows = [row for row in rows if row.shape == rows[0].shape]
        layout = find_layout(rows[0].shape)
        if layout is None or rows[0].dtype.kind not in "uifb":
            raise DataError(
                f"{name} has lists of {rows[0].size} values of type {rows[0].dtype}, but must have"
                " the numbers of a square image, as 784 for 28x28, or lists of rows"
            )
        self._layout = resolve_layout(np.stack(rows), layout)

    def image(self, value: Any) -> npt.NDArray[np.generic]:
        """Return the image of a row, `[height, width, bands]`. Raises ImageError."""
        values = list_values(value)
        if self._layout is None or values.ndim > 1:
            return as_image(values)
        height, width, bands, _ = self._layout
        if values.size != height * width * bands:
            raise ImageError(f"it has {values.size} values, not {height * width * bands}")
        return self._layout.arrange(values)


def list_values(value: Any) -> npt.NDArray[np.generic]:
    """Return nested lists, a scalar of Arrow, as an array of their type.

    Raises:
        ImageError: the lists differ in length, or a value is missing.
    """
    import pyarrow.compute as pc

    values = value.values
    if values is None:
        raise ImageError("its row has no image")
    shape: tuple[int, ...] = (len(values),)
    while is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or None in lengths:
            raise ImageError("its rows differ in length")
        shape, values = (*shape, lengths[0]), values.flatten()
    if values.null_count:
        raise ImageError("it has missing values")
    array: npt.NDArray[np.generic] = values.to_numpy(zero_copy_only=False)
    return array.reshape(shape)


def is_list(kind: "pa.DataType") -> bool:
    """Whether a column has lists, of any kind."""
    import pyarrow as pa

    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in kinds)
