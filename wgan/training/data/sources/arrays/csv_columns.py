"""Columns of a CSV of pixels: which ones are the pixels, and which one their labels."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError
from wgan.training.data.sources.arrays.choice import LABEL_KEYS
from wgan.training.data.sources.arrays.layout import find_layout
from wgan.training.data.sources.labelling import classes_of_column

JOINED = "pixels"
"""Name of a column of all pixels of an image, with spaces between them."""

LABEL_NAMES = (*LABEL_KEYS, "emotion", "category", "digit", "letter", "character")
"""Usual names of the column of labels, the most telling first."""

NO_LABELS = frozenset({
    "usage", "split", "subset", "set", "fold", "id", "index", "idx", "name", "file", "filename",
    "path", "image_id", "img_name", "unnamed: 0", "",
})  # fmt: skip
"""Names of columns that are never labels."""

_DIGITS = re.compile(r"\d+")

_PIXEL = re.compile(r"(?:pixel|pix|px|p|x|v|f|feature|attribute|att|a)?[ _.-]?\d+(?:[x_.:-]\d+)?")


class Columns(NamedTuple):
    """Indices of the columns of pixels, or of one with all of them, and of the labels."""

    pixels: tuple[int, ...]
    label: int | None = None
    notes: tuple[str, ...] = ()
    """What the user should know about the other columns, as phrases."""

    is_joined: bool = False


def choose_columns(names: Sequence[str], rows: Sequence[Sequence[str]], path: Path) -> Columns:
    """Choose the columns by their names, in lower case, if there are some, and by the first rows.

    Raises:
        DataError: the pixels are no square image, or which column has the labels is unclear.
    """
    count = len(names or rows[0])
    if JOINED in names:
        return _beside((names.index(JOINED),), names, rows)._replace(is_joined=True)
    numbered = _by_number([k for k, name in enumerate(names) if _PIXEL.fullmatch(name)], names)
    if len(numbered) < count and find_layout((len(numbered),)):
        return _beside(numbered, names, rows)
    if find_layout((count,)):
        return Columns(_by_number(range(count), names))
    if find_layout((count - 1,)) is None:
        raise DataError(
            f"{path} has {count} columns, but must have the pixels of a square image, as 784 for"
            " 28x28, and at most one column of labels"
        )
    named = [k for k, name in enumerate(names) if name in LABEL_NAMES]
    label = named[0] if named else _compare(rows, path)
    notes = () if named else (f"the {'last' if label else 'first'} column, taken for the labels",)
    pixels = [k for k in range(count) if k != label]
    return Columns(_by_number(pixels, names), label, notes)


def _by_number(columns: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """Sort columns by the numbers in their names, if these are sorted as text, or a shuffled range.

    Sorted as text, pixel10 is before pixel2. In a range only the last number differs, without
    gaps: 8x8_0 to 8x8_63 in any order. Other columns keep their order: 0_0, 1_0 may be meant
    column by column, and names without numbers have none.
    """
    if not names:
        return tuple(columns)
    own = [names[k] for k in columns]
    numbers = {k: tuple(map(int, _DIGITS.findall(names[k]))) for k in columns}
    distinct = set(numbers.values())
    has_one_form = len({_DIGITS.sub("0", name) for name in own}) == 1
    if not has_one_form or len(distinct) < len(own) or () in distinct:
        return tuple(columns)
    last = [each[-1] for each in distinct]
    is_range = len({each[:-1] for each in distinct}) == 1 and max(last) - min(last) < len(own)
    if not is_range and own != sorted(own):
        return tuple(columns)
    return tuple(sorted(columns, key=numbers.__getitem__))


def is_header(row: Sequence[str]) -> bool:
    """Whether a row has names: texts, or the numbers of the columns."""
    values = [_number(text) for text in row]
    inner = values[1:-1] or values[1:] or values  # the first or the last may be a text as a label
    if not all(map(math.isfinite, inner)):
        return True
    # pandas numbers columns without names; a label may be before or after them.
    return len(row) > 2 and bool((np.diff(values[1:-1]) == 1).all() and values[1] in (0, 1, 2))


def unmangled(row: Sequence[str]) -> list[str]:
    """Return the values of a first row that pandas once took for names of columns.

    It made them differ: `0,0,7,0` is written as `0,0.1,7,0.2`. The first or the last value may be
    any text, as a label. Other rows are returned as they are.
    """
    seen: Counter[str] = Counter()
    values = []
    for index, text in enumerate(row):
        value = text.partition(".")[0]
        count = seen[value]
        is_mangled = value.isdigit() and text == (f"{value}.{count}" if count else value)
        if not is_mangled and index not in (0, len(row) - 1):
            return list(row)
        seen[value] += 1
        values.append(value if is_mangled else text)
    return values


def _beside(
    pixels: tuple[int, ...], names: Sequence[str], rows: Sequence[Sequence[str]]
) -> Columns:
    """Choose the labels among the columns that are no pixels."""
    others = [k for k in range(len(names)) if k not in set(pixels)]
    named = sorted(
        (k for k in others if names[k] in LABEL_NAMES), key=lambda k: LABEL_NAMES.index(names[k])
    )
    likely = [k for k in others if names[k] not in NO_LABELS and _has_classes(rows, k)]
    whole = [k for k in likely if _is_whole(_column(rows, k))]
    clear = named[:1] or (likely if len(likely) == 1 else whole)
    label = clear[0] if len(clear) == 1 else None
    notes = []
    if label is not None and names[label] not in LABEL_KEYS:
        notes.append(f"the column {names[label]}, taken for the labels")
    rest = ", ".join(names[k] or "without a name" for k in others if k != label)
    if rest:
        advice = "" if label is not None else " (call one label if it has the labels)"
        notes.append(f"columns that are neither pixels nor labels: {rest}{advice}")
    return Columns(pixels, label, tuple(notes))


def _compare(rows: Sequence[Sequence[str]], path: Path) -> int:
    """Return which column has the labels, the first or the last. Raises DataError."""
    if not rows:
        return 0
    last = len(rows[0]) - 1
    ends = {k: _column(rows, k) for k in (0, last)}
    texts = [k for k, values in ends.items() if not np.isfinite(values).all()]
    if texts:
        return texts[0]
    likely = [k for k, values in ends.items() if _are_labels(values)]
    if len(likely) == 1:
        return likely[0]
    # Pixels are like their neighbours, and labels are not.
    unlike_first = _difference(ends[0], _column(rows, 1))
    unlike_last = _difference(ends[last], _column(rows, last - 1))
    if unlike_last > 2 * unlike_first:
        return last
    if likely and unlike_first <= 2 * unlike_last:
        raise DataError(
            f"the labels of {path} may be the first or the last column: give it a header, with the"
            " name label for the column of labels"
        )
    return 0  # as in most such files


def _are_labels(values: npt.NDArray[np.float64]) -> bool:
    """Whether these are few whole numbers, from 0 or 1 and almost without gaps."""
    found = np.unique(values)
    few = 2 <= len(found) <= max(2, len(values) // 2)
    return few and _is_whole(values) and found[0] in (0, 1) and found[-1] <= 2 * len(found)


def _has_classes(rows: Sequence[Sequence[str]], index: int) -> bool:
    return bool(classes_of_column([row[index] for row in rows if index < len(row)]).names)


def _column(rows: Sequence[Sequence[str]], index: int) -> npt.NDArray[np.float64]:
    return np.array([_number(row[index]) for row in rows if index < len(row)])


def _difference(one: npt.NDArray[np.float64], two: npt.NDArray[np.float64]) -> float:
    return float(np.abs(one[: len(two)] - two[: len(one)]).mean())


def _is_whole(values: npt.NDArray[np.float64]) -> bool:
    return bool(np.isfinite(values).all() and (values == np.rint(values)).all())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
