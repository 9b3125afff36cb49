"""Files that appear whole or not at all."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wgan.errors import OutputError

TEMPORARY_SUFFIX = ".partial"
"""Ends the name of a file that is still being written; a crash can leave one behind."""


@contextlib.contextmanager
def whole_file(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing; it takes the name `path` when the block succeeds.

    The contents are flushed to the disk before the name changes, so that a reader, a crash or
    a power cut sees the old file or the new one, never a part. When the block raises, what was
    written is removed. `flush=False` leaves the flushing to the system: several times faster
    for small files by the thousand, as safe in a crash of the process, but a power cut can leave
    some of them empty.

    Raises:
        OutputError: the file could not be written: no such folder, no permission, disk full.
    """
    # Process and thread keep two writers of the same name out of each other's way.
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
    except OSError as exc:
        _discard(partial)
        raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc
    except BaseException:
        _discard(partial)
        raise


def write_whole(path: Path, data: bytes, *, flush: bool = True) -> None:
    """Write `data` to `path`, all of it or nothing; as `whole_file`, and raises what it does."""
    with whole_file(path, flush=flush) as file:
        file.write(data)


def discard_leftovers(folder: Path, name: str = "*") -> None:
    """Remove what `whole_file` left of files `name` in `folder` when it was killed.

    Nobody else may be writing such files there.

    Raises:
        OutputError: one cannot be removed.
    """
    for partial in folder.glob(f".{name}.*{TEMPORARY_SUFFIX}"):
        try:
            partial.unlink()
        except OSError as exc:
            raise OutputError(f"cannot remove {partial}: {exc.strerror}") from exc


NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems without locks answer."""


def lock_file(file: BinaryIO) -> bool:
    """Claim a file just opened, until it is closed; False where another process has it.

    Who does not ask is not kept out, nor is anybody where the file system has no locks.
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
            if exc.errno not in NO_LOCKS:
                raise
    return True


def make_folder(path: Path) -> None:
    """Make the folder `path` and those above it, unless they are there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {_reason(exc, path)}") from exc


def _reason(exc: OSError, path: Path) -> str:
    if isinstance(exc, FileNotFoundError):
        there = path.parent.is_dir()  # as /proc is, in which nobody can make a file
        return f"the folder {path.parent} {'takes no new files' if there else 'does not exist'}"
    return exc.strerror or str(exc)


def _discard(path: Path) -> None:
    # Best effort: the error that brought us here is the one worth reporting.
    with contextlib.suppress(OSError):
        path.unlink()


def _sync_folder(path: Path) -> None:
    """Make a rename outlive a power cut, where the system has a way (Windows has none)."""
    if os.name != "posix":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
