"""CSV files of pixels: a row per image, `label,pixel0,pixel1,...`, with a header or without."""

import csv
import io
import itertools
import math
import operator
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError
from wgan.files import why_unreadable
from wgan.training.data.sources import ImageSource, open_unzipped
from wgan.training.data.sources.arrays import StackSource
from wgan.training.data.sources.arrays.csv_columns import (
    Columns,
    choose_columns,
    is_header,
    unmangled,
)
from wgan.training.data.sources.arrays.layout import find_layout
from wgan.training.data.sources.labelling import classes_of_column

FIELD_LIMIT = 2**24
"""Characters of a field; FER2013 has all pixels of an image in one."""

_QUOTED = re.compile(r'"[^"]*"')
_JOINTS = re.compile(r"[\[\](),;]")
"""Punctuation between the pixels of one column, as in a Python list."""

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*")

SAMPLED_ROWS = 1000
"""First rows that tell which column has the labels."""


def open_pixel_csv(path: Path) -> ImageSource:
    """Open a CSV of pixels, plain or gzipped.

    The pixels are the columns `pixel0`, `pixel1` and so on; all but one, which has the labels; or
    the column `pixels`, with spaces between them. Their number is that of a square, grey or of
    three colours.

    Raises:
        DataError: it holds something else, or which column has the labels is unclear.
    """
    csv.field_size_limit(FIELD_LIMIT)
    try:
        with open_unzipped(path) as file:
            rows: Iterator[list[str]]
            lines = io.TextIOWrapper(file, "utf-8-sig", newline="")
            start = lines.readline()
            separator = _separator(start)
            whole = itertools.chain([start], lines)
            if separator == " ":  # as np.savetxt writes, perhaps several
                rows = map(str.split, whole)
            else:
                rows = csv.reader(whole, delimiter=separator)
            if separator in ";\t":
                rows = (list(map(_with_point, row)) for row in rows)
            pixels, labels, columns = _read(rows, path)
    except UnicodeDecodeError as exc:
        raise DataError(f"the CSV file {path} is not UTF-8: save it as UTF-8") from exc
    except (OSError, EOFError, csv.Error, zlib.error) as exc:
        raise DataError(f"the CSV file {path} {why_unreadable(exc)}") from exc
    layout = find_layout(pixels.shape[1:])
    assert layout is not None  # _read has checked it
    taken = f"columns {columns.pixels} of {columns.label}"
    return StackSource(
        path,
        pixels,
        layout,
        classes_of_column(_class_texts(labels), title="labels in the CSV file"),
        columns.notes,
        taken,
    )


def _class_texts(labels: list[str]) -> list[str]:
    """Return labels with whole numbers as `2`, where NumPy writes `2.000e+00`, and NaN empty."""
    try:
        numbers = [float(text or "nan") for text in labels]
    except ValueError:  # texts
        return labels
    if not all(value.is_integer() or math.isnan(value) for value in numbers):
        return labels
    return [
        text if text.isdecimal() else "" if math.isnan(value) else f"{value:.0f}"
        for text, value in zip(labels, numbers, strict=True)
    ]


def _separator(line: str) -> str:
    """Return what parts the columns of a line; commas beside semicolons or tabs are decimal.

    Spaces only part them if nothing else does.
    """
    bare = _QUOTED.sub("", line)
    if not any(mark in line for mark in ',;\t"') and " " in line.strip():
        return " "
    other = max(";\t", key=bare.count)
    is_decimal = bare.count(",") <= bare.count(other) + 1 and f",{other}" not in bare
    return other if bare.count(other) and is_decimal else ","


def _with_point(text: str) -> str:
    """Return a number with a decimal comma as one with a point, and other texts as they are."""
    return text.replace(",", ".") if "," in text and _DECIMAL_COMMA.fullmatch(text) else text


def _read(
    rows: Iterator[list[str]], path: Path
) -> tuple[npt.NDArray[np.generic], list[str], Columns]:
    filled = filter(None, rows)
    first = unmangled(next(filled, []))
    names = [name.strip().lower() for name in first] if is_header(first) else []
    known = list(itertools.islice(filled, SAMPLED_ROWS))
    if not names:
        known.insert(0, first)
    ends_empty = not names and len(first) > 1 and not any(row[-1] for row in known)
    columns = choose_columns(names, [row[:-1] for row in known] if ends_empty else known, path)
    pick = operator.itemgetter(*columns.pixels)
    labels, images = [], []
    for number, row in enumerate(itertools.chain(known, filled), 1):
        try:
            if len(row) != len(first):
                raise ValueError(f"{len(row)} columns, not {len(first)}")
            if ends_empty and row[-1]:
                raise ValueError(f"its last column has {row[-1]!r}, and is empty before")
            labels += [] if columns.label is None else [row[columns.label]]
            values = _JOINTS.sub(" ", pick(row)).split() if columns.is_joined else pick(row)
            if "" in values:
                raise ValueError("a pixel has no value; fill it in, or remove the row")
            images.append(np.array(list(map(float, values)), np.float32))
            if len(images[-1]) != len(images[0]):
                raise ValueError(f"{len(images[-1])} pixels, not {len(images[0])}")
        except ValueError as exc:
            raise DataError(f"row {number} of {path} holds no pixels: {exc}") from exc
    if not images or find_layout(images[0].shape) is None:
        raise DataError(f"{path} holds no rows of the pixels of a square image")
    array = np.stack(images)
    is_bytes = (array == np.rint(array)).all() and array.min() >= 0 and array.max() <= 255
    return array.astype(np.uint8) if is_bytes else array, labels, columns
