"""LMDB: a folder with `data.mdb`, or such a file, whose values are image files."""

import contextlib
from pathlib import Path
from typing import Any

from wgan.errors import DataError, ImageError, needs_extra
from wgan.training.data.sources import fingerprint_files
from wgan.training.data.sources.encoded import EncodedSource, known_ending

DATA = "data.mdb"
"""The file of an LMDB folder."""

MIN_BYTES = 32
"""A shorter value is no image file: it counts the entries, or the like."""

MAX_DATABASES = 128
"""The most named databases that are recognised."""


class LmdbSource(EncodedSource):
    """The images in an LMDB, in the order of their keys.

    Raises:
        DataError: it is damaged, or holds no images.
        MissingExtra: the package lmdb is not installed.
    """

    def __init__(self, path: Path) -> None:
        with needs_extra("lmdb", purpose=f"the LMDB {path}"):
            import lmdb
        super().__init__(path.resolve().name.partition(".")[0] or "images")
        self._path = path
        self._error = lmdb.Error
        try:
            self._database = _open(path.resolve())
            with self._database.begin(buffers=True) as reader:
                entries = [
                    (bytes(key), _is_image(value), len(value) >= MIN_BYTES)
                    for key, value in reader.cursor()
                ]
        except lmdb.Error as exc:
            raise DataError(f"{path} is damaged or no LMDB: {exc}") from exc
        self._keys = [key for key, is_image, _ in entries if is_image]
        self.left_out = len(entries) - len(self._keys)
        others = sum(is_long and not is_image for _, is_image, is_long in entries)
        if others:
            self.unused = (f"{others:,} entries that are of no image format",)
        if not self._keys:
            named = _named_databases(self._database, [key for key, *_ in entries[:MAX_DATABASES]])
            if named:
                raise DataError(
                    f"the LMDB {path} has its entries in named databases ({', '.join(named[:5])}),"
                    " which are not read: copy those of one into an LMDB without a name"
                )
            raise DataError(
                f"the LMDB {path} holds no images among its {len(entries)} entries: each must be"
                " an image file, as JPEG or PNG"
            )

    def __len__(self) -> int:
        return len(self._keys)

    def image_name(self, index: int) -> str:
        """Path of the LMDB, and the key."""
        return f"{self._path}: {self._keys[index].decode('utf-8', 'backslashreplace')}"

    def fingerprint(self) -> str:
        """Hash of its file's name, size, modification time and some bytes."""
        return fingerprint_files([_file_of(self._path)])

    def _read(self, index: int) -> bytes:
        try:
            with self._database.begin() as reader:
                return bytes(reader.get(self._keys[index]) or b"")
        except self._error as exc:
            raise ImageError(f"it cannot be read: {exc}") from exc


def _is_image(value: memoryview) -> bool:
    """Whether a value is an image file, and no list of keys or text."""
    return len(value) >= MIN_BYTES and known_ending(bytes(value[:16])) is not None


def _named_databases(database: Any, keys: list[bytes]) -> list[str]:
    import lmdb

    found = []
    for key in keys:
        with contextlib.suppress(lmdb.Error):  # an entry of another kind
            database.open_db(key, create=False)
            found.append(key.decode("utf-8", "backslashreplace"))
    return found


_opened: dict[Path, tuple[tuple[int, int, int], Any]] = {}
"""The databases of this process, with their file's inode, size and modification time."""


def _open(path: Path) -> Any:
    """Open a database once, as LMDB demands, and again only if its file was replaced."""
    import lmdb

    status = _file_of(path).stat()
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    if path in _opened:
        known, database = _opened[path]
        if known == stamp:
            return database
        database.close()
    # Without its lock an LMDB on a read-only disk opens; it must not change meanwhile.
    database = lmdb.open(
        str(path),
        subdir=path.is_dir(),
        readonly=True,
        lock=False,
        create=False,
        max_dbs=MAX_DATABASES,
    )
    _opened[path] = stamp, database
    return database


def _file_of(path: Path) -> Path:
    return path / DATA if path.is_dir() else path
