"""CSV files of pixels: a row per image, `label,pixel0,pixel1,...`, with a header or without."""

import csv
import gzip
import io
import itertools
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError
from wgan.files import is_refused, why_unreadable
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.arrays import StackSource
from wgan.training.data.sources.arrays.layout import LABEL_KEYS, find_layout
from wgan.training.data.sources.labelling import classes_of_column

FIELD_LIMIT = 2**24
"""Characters of a field; FER2013 has all pixels of an image in one."""


def open_pixel_csv(path: Path) -> ImageSource:
    """Open a CSV of pixels, plain or gzipped.

    The pixels are all columns but one or none, which has the labels; or the column `pixels`, with
    spaces between them. Their number is that of a square, grey or of three colours.

    Raises:
        DataError: it holds something else.
    """
    csv.field_size_limit(FIELD_LIMIT)
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
            pixels, labels = _read(rows, path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as exc:
        if is_refused(exc):
            raise DataError(f"the file {path} {why_unreadable(exc)}") from exc
        raise DataError(f"the CSV file {path} is damaged: {exc}") from exc
    layout = find_layout(pixels.shape[1:])
    assert layout is not None  # _columns has checked it
    return StackSource(path, pixels, layout, classes_of_column(labels))


def _read(rows: Iterator[list[str]], path: Path) -> tuple[npt.NDArray[np.generic], list[str]]:
    first = next(rows, [])
    has_header = not all(map(_is_number, first[1:] or first))
    names = [name.strip().lower() for name in first] if has_header else []
    joined = names.index("pixels") if "pixels" in names else None
    label = None if len(first) < 2 else 1 - min(joined or 0, 1)  # beside the joined pixels
    if joined is None:
        label = _label_column(len(first), names, path)
    labels, images = [], []
    for number, row in enumerate(rows if has_header else itertools.chain([first], rows), 1):
        if not row:
            continue
        try:
            labels += [] if label is None else [row[label]]
            values = row[:label] + row[label + 1 :] if label is not None else row
            values = values if joined is None else row[joined].split()
            images.append(np.array(list(map(float, values)), np.float32))
            if len(images[-1]) != len(images[0]):
                raise ValueError(f"{len(images[-1])} pixels, not {len(images[0])}")
        except (ValueError, IndexError) as exc:
            raise DataError(f"row {number} of {path} holds no pixels: {exc}") from exc
    if not images or find_layout(images[0].shape) is None:
        raise DataError(f"{path} holds no rows of the pixels of a square image")
    array = np.stack(images)
    is_bytes = (array == np.rint(array)).all() and array.min() >= 0 and array.max() <= 255
    return array.astype(np.uint8) if is_bytes else array, labels


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _label_column(count: int, names: Sequence[str], path: Path) -> int | None:
    """Return the index of the column of labels; None if there is none. Raises DataError."""
    if find_layout((count,)):
        return None
    if find_layout((count - 1,)) is None:
        raise DataError(
            f"{path} has {count} columns, but must have the pixels of a square image, as 784 for"
            " 28x28, and at most one column of labels"
        )
    named = [index for index, name in enumerate(names) if name in LABEL_KEYS]
    return named[0] if named else 0
