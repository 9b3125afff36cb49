"""Files that appear complete or not at all, locks, and archives."""

import contextlib
import errno
import glob
import os
import select
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wgan.errors import OutputError, UsageError

if TYPE_CHECKING:
    import io
    import zipfile

LFS_START = b"version https://git-lfs"
"""The first bytes of a pointer of git-lfs."""

TEMPORARY_SUFFIX = ".partial"
"""Ends the name of an unfinished file; a crash can leave one behind."""

KEPT_START, KEPT_END = 40, 10
"""Characters of a long file's name, of up to 4 bytes each, in that of its temporary file.

So the temporary name fits wherever the file's own does: systems allow 255 bytes.
"""


@contextlib.contextmanager
def whole_file(path: Path, *, flush: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; it is renamed to `path` when the block succeeds.

    The contents are flushed to the disk before the rename, so that after a crash or a power cut
    `path` is the old file or the new one, never a part. If the block raises, the temporary file
    is removed. `flush=False` leaves flushing to the system: several times faster for thousands
    of small files and as safe if the process crashes, but a power cut can leave empty files.

    A symbolic link is followed, as by `open`. Only a regular file is ever replaced.

    Raises:
        OutputError: the file cannot be written: no such folder, no permission, disk full, or
            something else than a regular file has its name.
    """
    target = _replaceable(path)
    # The random number keeps writers of the same path apart, on other hosts too.
    writer = f"{os.getpid()}-{int.from_bytes(os.urandom(5))}"
    partial = target.with_name(f".{_shortened(target.name)}.{writer}{TEMPORARY_SUFFIX}")
    try:
        # Its lock tells `discard_leftovers` that a writer is at work. None: that function was
        # quicker, and is about to remove the new file.
        while (opened := open_locked(partial)) is None:
            pass
        with opened as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(target)
        if flush:
            _sync_folder(target.parent)
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


def remove(path: Path) -> None:
    """Remove the file `path` if it exists. Raises OutputError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot remove {path}: {exc.strerror}") from exc


def discard_leftovers(folder: Path, name: str = "*") -> None:
    """Remove the temporary files of killed writers, for files that match `name` in `folder`.

    Files that a living process is writing stay, except on file systems without locks. A file that
    cannot be removed, such as another user's, is no obstacle and stays too.
    """
    for partial in folder.glob(f".{name}.*{TEMPORARY_SUFFIX}"):
        with contextlib.suppress(OSError):
            with partial.open("r+b") as file:
                if not lock_file(file):
                    continue
                if os.name == "posix":  # while it is locked; Windows removes no open file
                    partial.unlink()
            partial.unlink(missing_ok=True)


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
        return open_locked(path)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc


def open_locked(path: Path) -> BinaryIO | None:
    """Open and lock a file for reading and writing, created if missing; None if it is locked.

    Raises:
        OSError: the file cannot be opened for writing.
    """
    while True:
        # No mode of `open` creates a file, keeps its contents and writes anywhere in it.
        file = open(path, "r+b", opener=_create)  # noqa: SIM115 - the caller closes it
        if not lock_file(file):
            file.close()
            return None
        # Another process may have renamed or removed it before this one locked it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)


def make_folder(path: Path) -> None:
    """Create the folder `path` and its parents where they are missing.

    Raises:
        OutputError: the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        raise OutputError(f"cannot make the folder {path}: {_reason(exc, path)}") from exc


def check_output(path: Path) -> None:
    """Check that `path` can be written, before the work whose result goes there.

    Removes the temporary files that killed writers of `path` have left.

    Raises:
        OutputError: there is no such folder, no permission, or something else than a regular file
            has this name.
    """
    check_parent_folder(path)
    target = _replaceable(path)
    if not os.access(target.parent, os.W_OK | os.X_OK):
        is_read_only = hasattr(os, "statvfs") and os.statvfs(target.parent).f_flag & os.ST_RDONLY
        reason = os.strerror(errno.EROFS if is_read_only else errno.EACCES)
        raise OutputError(f"cannot write {path}: {reason}")
    discard_leftovers(target.parent, glob.escape(_shortened(target.name)))


def _shortened(name: str) -> str:
    """Return a file's name, or the start and the ending of a long one."""
    is_long = len(name) > KEPT_START + KEPT_END
    return name[:KEPT_START] + name[-KEPT_END:] if is_long else name


def check_keeps_inputs(output: Path, inputs: Iterable[tuple[str, Path]], hint: str) -> None:
    """Check that `output` replaces none of the files that the command reads, by any name.

    Args:
        output: the file to write.
        inputs: what each file is, as in "the image", and its path.
        hint: what to do instead, for the message.

    Raises:
        UsageError: it is one of them.
    """
    for noun, path in inputs:
        if is_file(output) and is_file(path) and output.samefile(path):
            raise UsageError(f"{output} would replace {noun} {path}: {hint}")


def check_parent_folder(path: Path) -> None:
    """Check that the folder of an output exists. Raises OutputError."""
    try:
        exists = path.absolute().parent.is_dir()
    except (OSError, ValueError) as exc:  # ValueError: a null byte
        raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc
    if not exists:
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist")


def _replaceable(path: Path) -> Path:
    """Return the regular file that `path` names or will name, through symbolic links.

    Renaming a file to a device's name would replace the device: as root, `-o /dev/null` would
    break the machine.

    Raises:
        OutputError: something else has this name.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as exc:
        raise OutputError(f"cannot write {path}: {_reason(exc, path)}") from exc
    else:
        if not stat.S_ISREG(mode):
            found = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
            raise OutputError(f"cannot write {path}: it is {found}, not a regular file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def open_regular(path: Path) -> "io.BufferedReader":
    """Open a regular file for reading; a pipe or a device could be read without end.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.open("rb")


def read_text(path: Path, limit: int = 2**20, wait_s: float = 5) -> str:
    """Read a text file of at most `limit` bytes, UTF-8; a device could be read without end.

    A pipe is given `wait_s` seconds for a writer, and for each part that it writes.

    Raises:
        OSError: it cannot be read, or nothing is written to it in time.
        ValueError: it is larger, or not UTF-8.
    """
    data = bytearray()
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        while len(data) <= limit:
            # Before the read: it takes a pipe that has no writer yet for one that has ended.
            if pipe and not select.select([file], [], [], wait_s)[0]:
                raise TimeoutError(errno.ETIMEDOUT, f"nothing was written to it for {wait_s:g} s")
            part = file.read(limit + 1 - len(data))
            if not part:
                break
            data += part
    if len(data) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return data.decode()


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a pipe without waiting for a writer, which may never come."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def is_file(path: Path) -> bool:
    """Whether a regular file is there; False too for a name that is too long or out of reach."""
    return os.path.isfile(path)  # noqa: PTH113 - before Python 3.14, Path.is_file raises


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False as for `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112 - before Python 3.14, Path.is_dir raises


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


def is_refused(exc: BaseException | None) -> bool:
    """Whether the system refuses a file, which need not be damaged: no permission, a limit.

    Errors of unpacking have no number of the system, or that of a position before a file's start.
    """
    return isinstance(exc, OSError) and exc.errno not in (None, errno.EINVAL, errno.EIO)


def why_unreadable(exc: Exception, damage: str = "is damaged") -> str:
    """Say why reading a file failed: what the system refuses, or `damage` and its signs."""
    if isinstance(exc, OSError) and is_refused(exc):
        return f"cannot be read: {exc.strerror or exc}"
    return f"{damage}: {exc}"


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file holds only where git-lfs has its content, as in a clone without git-lfs."""
    try:
        with path.open("rb") as file:
            return file.read(len(LFS_START)) == LFS_START
    except OSError:  # reading it says why
        return False


def lacks_open_files(exc: BaseException | None) -> bool:
    """Whether the limit on open files caused an error, or the error from which it was raised."""
    while exc is not None:
        if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):
            return True
        # A library that cannot be loaded: the number is only in the text.
        if isinstance(exc, ImportError) and os.strerror(errno.EMFILE) in str(exc):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _reason(exc: OSError | ValueError, path: Path) -> str:
    if isinstance(exc, FileNotFoundError):
        exists = path.parent.is_dir()  # as /proc does, where no file can be created
        return f"the folder {path.parent} {'takes no new files' if exists else 'does not exist'}"
    return getattr(exc, "strerror", None) or str(exc)


def _sync_folder(path: Path) -> None:
    """Make a rename survive a power cut, where the system has a way (Windows has none)."""
    if os.name != "posix":
        return
    try:
        folder = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that may be written and not listed
        return
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
