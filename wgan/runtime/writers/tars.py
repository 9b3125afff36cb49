"""A tar of PNGs as WebDataset reads it: each member named by its key, in the order drawn.

Millions of images: nothing is kept in memory. The archive grows under a name of its own,
`.out.tar.partial`, and the same command goes on behind the last whole member.
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wgan.errors import OutputError
from wgan.files import TEMPORARY_SUFFIX, lock_file, whole_file
from wgan.runtime.job import Job
from wgan.runtime.writers.folders import name
from wgan.runtime.writers.record import check_same, to_text

BLOCK = tarfile.BLOCKSIZE


def write_tar(path: Path, job: Job) -> None:
    """Write each image as a member, `00000042.png`, without a date.

    The first header is a comment that says what the images were drawn with. An interrupted
    archive and an uninterrupted one have the same bytes.

    Raises:
        OutputError: it cannot be written, was begun with other settings, or another process is
            writing it. What is written stays under the name for unfinished archives.
    """
    partial = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        with _claimed(partial, path) as file:
            if job.options.overwrite:
                file.truncate()
            done = _go_on(file, job, path)
            _write_members(file, job, done)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "posix":  # while it is ours; Windows renames no open file
                partial.replace(path)
        if os.name != "posix":
            partial.replace(path)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc


def write_whole_tar(path: Path, job: Job) -> None:
    """Write the same bytes as `write_tar`, in one go: an interrupted archive leaves nothing.

    For archives that several processes may try to write at once. Raises OutputError.
    """
    with whole_file(path) as file:
        file.write(_comment(job))
        _write_members(file, job, 0)


def _write_members(file: BinaryIO, job: Job, done: int) -> None:
    for key, data in job.encoded(start=done):
        file.write(_header(key, len(data)))
        file.write(data)
        file.write(bytes(-len(data) % BLOCK))
    file.write(bytes(2 * BLOCK))  # the end of an archive


@contextmanager
def _claimed(partial: Path, path: Path) -> Iterator[BinaryIO]:
    """Open `partial`, made where it is missing, for this process alone."""
    while True:
        partial.touch()
        with partial.open("r+b") as file:
            if not lock_file(file):
                raise OutputError(
                    f"another process is writing {path}: wait for it, or choose another name"
                )
            if not _is_at(file, partial):  # it was finished and renamed before it was ours
                continue
            yield file
            return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _go_on(file: BinaryIO, job: Job, path: Path) -> int:
    """Leave `file` behind its last whole member; returns how many it has."""
    comment = _comment(job)
    begun = file.read(len(comment))
    if begun != comment:
        _check_begun(begun + file.read(BLOCK * 4), job, path)
        file.seek(0)
        file.truncate()
        file.write(comment)
        return 0
    done = 0
    for position in job.positions:
        start = file.tell()
        if not _skip_member(file, name(job.source.key(position)), path):
            file.seek(start)
            break
        done += 1
    file.truncate()
    return done


def _skip_member(file: BinaryIO, expected: str, path: Path) -> bool:
    """Step over the member that comes next; False where it is not whole."""
    header = file.read(BLOCK)
    try:
        member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except tarfile.HeaderError:
        return False
    if member.name != expected:
        raise OutputError(
            f"{path} was begun with other images ({member.name} where {expected} would come):"
            " choose another name, or add --overwrite"
        )
    end = file.tell() + member.size + -member.size % BLOCK
    if end > os.fstat(file.fileno()).st_size:
        return False
    file.seek(end)
    return True


def _check_begun(begun: bytes, job: Job, path: Path) -> None:
    """Raise OutputError where the file was begun with other settings; else it holds nothing."""
    if len(begun) < 2 * BLOCK:  # stopped before the comment was whole
        return
    _, found, rest = begun.partition(b"comment=")
    check_same(rest.partition(b"\n")[0] if found else b"", job.settings(), str(path))


def _comment(job: Job) -> bytes:
    """A global header of the pax format, which readers of tar files pass over."""
    return tarfile.TarInfo.create_pax_global_header({"comment": to_text(job.settings())})


def _header(key: int, size: int) -> bytes:
    member = tarfile.TarInfo(name(key))
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
