"""Tables of images: parquet as Hugging Face writes it, and folders of `datasets.save_to_disk`."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wgan.errors import DataError, ImageError, needs_extra
from wgan.files import (
    is_lfs_pointer,
    lacks_open_files,
    open_regular,
    why_unreadable,
)
from wgan.training.data.sources import (
    ImageSource,
    RawImage,
    fingerprint_files,
    locate,
    sampled,
    wrap_array,
)
from wgan.training.data.sources.arrays import LAYOUT_SAMPLES
from wgan.training.data.sources.encoded import EncodedSource
from wgan.training.data.sources.labelling import NO_CLASSES, Classes, classes_of_column
from wgan.training.data.sources.list_column import ListColumn, is_list
from wgan.training.data.sources.table_columns import image_column, label_column

if TYPE_CHECKING:
    import pyarrow as pa

KEPT_BLOCKS = 4
"""Blocks of rows that are kept in memory."""


PROBED_BLOCKS = 8
"""Blocks from which rows are looked at before all are read."""


class _Block(NamedTuple):
    """A row group of a parquet file, or an Arrow file."""

    path: Path
    group: int
    rows: int


class TableSource(EncodedSource):
    """Images in the rows of parquet or Arrow files, some blocks of rows in memory at a time.

    Raises:
        DataError: a file is damaged, or no column holds images.
        MissingExtra: pyarrow is not installed.
    """

    def __init__(self, name: str, files: Sequence[Path], unused: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        with needs_extra("parquet", purpose=f"the table {files[0]}"):
            import pyarrow.parquet  # noqa: F401 - the methods use it
        schemas = {file: _schema(file) for file in files}
        schema = schemas[files[0]]
        self._files, self._column = files, image_column(schema, files[0])
        _check_column(self._column, schemas)
        self._blocks = [block for file in files for block in _blocks(file)]
        self._ends = list(itertools.accumulate(block.rows for block in self._blocks))
        self._kept: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        self.unused = unused
        self.labels, self.class_names, self.why_no_classes = self._classes(schemas)
        if not self._ends or not self._ends[-1]:
            raise DataError(f"the table {files[0]} has no rows")
        rows = range(min(len(self), LAYOUT_SAMPLES))
        self._lists = (
            ListColumn(map(self._value, rows), f"{files[0]}, column {self._column},")
            if is_list(schema.field(self._column).type)
            else None
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def image_name(self, index: int) -> str:
        """Path of the file, and the row among those of all files."""
        return f"{self._blocks[locate(self._ends, index)[0]].path}, row {index}"

    def image(self, index: int, size: int) -> RawImage:
        """Decode the image of a row, or return its array. Raises ImageError."""
        if self._lists:
            return wrap_array(self._lists.image(self._value(index)))
        return super().image(index, size)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return the file of a row as it is, or its array as a file. Raises ImageError."""
        return ImageSource.encoded(self, index) if self._lists else super().encoded(index)

    def some_indices(self, most: int) -> list[int]:
        """As `ImageSource.some_indices`, from a few blocks, because each is read whole."""
        needed = -(-most * len(self._blocks) // len(self))  # blocks of as many rows together
        blocks = sampled(range(len(self._blocks)), max(PROBED_BLOCKS, needed))
        each = -(-most // len(blocks))
        return [index for block in blocks for index in sampled(self._rows(block), each)][:most]

    def shuffled(self, random: np.random.RandomState) -> list[int]:
        """Return the rows in a random order, mixed only within KEPT_BLOCKS - 1 blocks."""
        if len(self._blocks) <= KEPT_BLOCKS:
            return super().shuffled(random)
        blocks, order = random.permutation(len(self._blocks)).tolist(), []
        step = KEPT_BLOCKS - 1  # threads that read ahead need the next one
        for start in range(0, len(blocks), step):
            rows = [row for block in blocks[start : start + step] for row in self._rows(block)]
            order += random.permutation(rows).tolist()
        return order

    def _rows(self, block: int) -> range:
        end = self._ends[block]
        return range(end - self._blocks[block].rows, end)

    def count_frames(self, index: int) -> int:
        """Return the number of frames of a file; 1 of an array."""
        return 1 if self._lists else super().count_frames(index)

    def fingerprint(self) -> str:
        """Names, sizes and modification times of the files."""
        return f"{fingerprint_files(self._files)} {self._column}"

    def _read(self, index: int) -> bytes:
        value: object = self._value(index).as_py()
        if isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
            path = self._blocks[locate(self._ends, index)[0]].path.parent / str(value["path"])
            try:
                with open_regular(path) as file:
                    return file.read()
            except (OSError, ValueError) as exc:  # ValueError: a null byte
                if lacks_open_files(exc):  # no fault of the image: it must not be left out
                    raise
                reason = getattr(exc, "strerror", exc)
                raise ImageError(f"its file {path} cannot be read: {reason}") from exc
        data: object = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise ImageError("its row has no image")
        return data

    def _value(self, index: int) -> Any:
        """Return the value of a row as Arrow's scalar."""
        number, row = locate(self._ends, index)
        with self._lock:
            if number not in self._kept:
                block = self._blocks[number]
                with _table_errors(block.path):
                    self._kept[number] = _read_block(block, self._column)
                if len(self._kept) > KEPT_BLOCKS:
                    self._kept.popitem(last=False)
            return self._kept[number][row]

    def _classes(self, schemas: Mapping[Path, "pa.Schema"]) -> Classes:
        column, names = label_column(schemas[self._files[0]])
        if column is None:
            return NO_CLASSES
        lacking = [path for path, schema in schemas.items() if column not in schema.names]
        if lacking:
            return Classes(reason=f"the table {lacking[0]} has no column {column}")
        own_names = {path: label_column(schema)[1] for path, schema in schemas.items()}
        differ = len(set(own_names.values())) > 1 and all(own_names.values())
        values: list[Any] = []
        for block in self._blocks:
            with _table_errors(block.path):
                found = _read_block(block, column).to_pylist()
            # Configurations of one data set may number the same classes differently.
            values += [_name_of(x, own_names[block.path]) for x in found] if differ else found
        return classes_of_column(values, () if differ else names, f"labels in the column {column}")


def _name_of(label: Any, names: Sequence[str]) -> str | None:
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else None


def _check_column(column: str, schemas: Mapping[Path, "pa.Schema"]) -> None:
    """Raise DataError if a table lacks the column of the images."""
    for path, schema in schemas.items():
        if column not in schema.names:
            raise DataError(
                f"the table {path} has no column {column}, as {next(iter(schemas))} has: its"
                f" columns are {', '.join(schema.names)}; give one of the tables, or rename the"
                " column"
            )


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _open(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    if _is_parquet(path):
        return parquet.ParquetFile(path, memory_map=True)
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source)


def _schema(path: Path) -> "pa.Schema":
    with _table_errors(path):
        opened = _open(path)
        return opened.schema_arrow if _is_parquet(path) else opened.schema


def _blocks(path: Path) -> list[_Block]:
    with _table_errors(path):
        file = _open(path)
        if not _is_parquet(path):
            return [_Block(path, 0, file.read_all().num_rows)]
        groups = range(file.metadata.num_row_groups)
        return [_Block(path, group, file.metadata.row_group(group).num_rows) for group in groups]


def _read_block(block: _Block, column: str) -> Any:
    file = _open(block.path)
    if _is_parquet(block.path):
        return file.read_row_group(block.group, columns=[column])[column]
    return file.read_all()[column]  # memory-mapped


@contextmanager
def _table_errors(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, KeyError, pa.ArrowException) as exc:
        if is_lfs_pointer(path):
            raise DataError(f"the table {path} is a git-lfs pointer: run  git lfs pull") from exc
        raise DataError(f"the table {path} {why_unreadable(exc)}") from exc
