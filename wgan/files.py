"""Files that appear complete or not at all, locks, and archives."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wgan.errors import OutputError

if TYPE_CHECKING:
    import zipfile

TEMPORARY_SUFFIX = ".partial"
"""Ends the name of an unfinished file; a crash can leave one behind."""


@contextlib.contextmanager
def whole_file(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; it is renamed to `path` when the block succeeds.

    The contents are flushed to the disk before the rename, so that after a crash or a power cut
    `path` is the old file or the new one, never a part. If the block raises, the temporary file
    is removed. `flush=False` leaves flushing to the system: several times faster for thousands
    of small files and as safe if the process crashes, but a power cut can leave empty files.

    Raises:
        OutputError: the file cannot be written: no such folder, no permission, disk full.
    """
    # The process and thread ids keep two writers of the same path apart.
    writer = f"{os.getpid()}-{threading.get_ident()}"
    partial = path.with_name(f".{path.name}.{writer}{TEMPORARY_SUFFIX}")
    try:
        with partial.open("wb") as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
        if flush:
            _sync_folder(path.parent)
    except BaseException as exc:
        with contextlib.suppress(OSError):  # the first error is the one to report
            partial.unlink()
        if isinstance(exc, OSError):
            raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc
        raise


def write_whole(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write `data` to `path` completely or not at all; arguments and errors as in `whole_file`."""
    with whole_file(path, flush=flush) as file:
        file.write(data)


def discard_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files of killed writers, for files that match `name` in `folder`.

    The caller makes sure that no other process is writing such files there.

    Raises:
        OutputError: a file cannot be removed.
    """
    for partial in folder.glob(f".{name}.*{TEMPORARY_SUFFIX}"):
        try:
            partial.unlink()
        except OSError as exc:
            raise OutputError(f"cannot remove {partial}: {exc.strerror}") from exc


_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""Errors of file systems without locking."""


def lock_file(file: BinaryIO) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    An advisory lock, which the system releases when the process ends, however it ends. It always
    succeeds on file systems without locking.
    """
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
    return True


def open_lock(path: Path) -> BinaryIO | None:
    """Create and lock the file `path`; closing it releases the lock. None if it is locked.

    Raises:
        OutputError: the file cannot be opened for writing.
    """
    try:
        file = path.open("ab")
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc
    if lock_file(file):
        return file
    file.close()
    return None


def make_folder(path: Path) -> None:
    """Create the folder `path` and its parents where they are missing.

    Raises:
        OutputError: the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {_reason(exc, path)}") from exc


def check_parent_folder(path: Path) -> None:
    """Check that the folder of an output file exists, before the work whose result goes there.

    Raises:
        OutputError: the folder does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist")


def undated_member(name: str) -> "zipfile.ZipInfo":
    """Return the header of a zip member with a fixed date: equal contents give equal bytes."""
    import zipfile

    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the earliest date that a zip can hold


def archive_errors() -> tuple[type[Exception], ...]:
    """Exceptions of `zipfile` and `tarfile` for a damaged archive; their docs do not list them."""
    import lzma
    import tarfile
    import zipfile
    import zlib

    return (
        zipfile.BadZipFile,
        tarfile.TarError,
        zlib.error,
        lzma.LZMAError,
        OSError,
        EOFError,
        ValueError,
        RuntimeError,  # a flipped bit can mark a member as encrypted
        NotImplementedError,  # or as compressed by an unknown method
    )


def _reason(exc: OSError, path: Path) -> str:
    if isinstance(exc, FileNotFoundError):
        exists = path.parent.is_dir()  # as /proc does, where no file can be created
        return f"the folder {path.parent} {'takes no new files' if exists else 'does not exist'}"
    return exc.strerror or str(exc)


def _sync_folder(path: Path) -> None:
    """Make a rename survive a power cut, where the system has a way (Windows has none)."""
    if os.name != "posix":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
