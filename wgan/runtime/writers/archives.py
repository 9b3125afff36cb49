"""Tar and zip archives of PNGs, each member named as in a folder, in the order generated.

A tar is read by WebDataset, takes constant memory for millions of images, and can be resumed: it
grows under the name `.out.tar.partial`, and the same command continues after the last complete
member. A zip lists its members at its end, so it is written completely or not at all.
"""

import os
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from wgan.errors import OutputError
from wgan.files import TEMPORARY_SUFFIX, open_locked, undated_member, whole_file
from wgan.runtime.job import Job
from wgan.runtime.writers.folders import check_same, to_text

BLOCK = tarfile.BLOCKSIZE


def write_zip(path: Path, job: Job) -> None:
    """Write each image as a member, `00000042.png`, stored, with a fixed date.

    The list of members takes about half a kilobyte of memory per image.

    Raises:
        OutputError: the archive cannot be written.
    """
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for position, data in job.encoded():
            archive.writestr(undated_member(f"{job.source.name(position)}.png"), data)


def write_tar(path: Path, job: Job) -> None:
    """Write each image as a member, `00000042.png`, with a fixed date.

    The first header is a comment with the settings. A resumed archive has the same bytes as an
    uninterrupted one.

    Raises:
        OutputError: the archive cannot be written, was started with other settings, or is being
            written by another process. The unfinished archive is kept.
    """
    partial = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        opened = open_locked(partial)
        if opened is None:
            raise OutputError(
                f"another process is writing {path}: wait for it, or choose another name"
            )
        with opened as file:
            if job.config.overwrite:
                file.truncate()
            done = _resume(file, job, path)
            _write_members(file, job, done)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "posix":  # while it is locked; Windows cannot rename an open file
                partial.replace(path)
        if os.name != "posix":
            partial.replace(path)
    except OSError as exc:
        raise OutputError(f"cannot write {path}: {exc.strerror or exc}") from exc


def write_whole_tar(path: Path, job: Job) -> None:
    """Write the same bytes as `write_tar`, completely or not at all.

    For archives that several processes may try to write at once.

    Raises:
        OutputError: the archive cannot be written.
    """
    with whole_file(path) as file:
        file.write(_comment(job))
        _write_members(file, job, 0)


def _write_members(file: BinaryIO, job: Job, done: int) -> None:
    for position, data in job.encoded(start=done):
        file.write(_header(f"{job.source.name(position)}.png", len(data)))
        file.write(data)
        file.write(bytes(-len(data) % BLOCK))
    file.write(bytes(2 * BLOCK))  # the end of an archive


def _resume(file: BinaryIO, job: Job, path: Path) -> int:
    """Seek to the end of the last complete member, cut off the rest; return how many there are."""
    comment = _comment(job)
    found = file.read(len(comment))
    if found != comment:
        beginning = found + file.read(BLOCK * 4)
        if len(beginning) >= 2 * BLOCK:  # otherwise stopped before the comment was complete
            record = beginning.partition(b"comment=")[2].partition(b"\n")[0]
            check_same(record, job.settings(), str(path))
        file.seek(0)
        file.truncate()
        file.write(comment)
        return 0
    done = 0
    for position in job.positions:
        start = file.tell()
        if not _skip_member(file, f"{job.source.name(position)}.png", path):
            file.seek(start)
            break
        done += 1
    file.truncate()
    return done


def _skip_member(file: BinaryIO, expected: str, path: Path) -> bool:
    """Seek to the end of the next member; return False if it is incomplete."""
    header = file.read(BLOCK)
    try:
        member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except tarfile.HeaderError:
        return False
    if member.name != expected:
        raise OutputError(
            f"{path} was started with other images ({member.name} instead of {expected}): choose"
            " another name, or add --overwrite"
        )
    end = file.tell() + member.size + -member.size % BLOCK
    if end > os.fstat(file.fileno()).st_size:
        return False
    file.seek(end)
    return True


def _comment(job: Job) -> bytes:
    """Format the settings as a global pax header, which readers of tar files skip."""
    return tarfile.TarInfo.create_pax_global_header({"comment": to_text(job.settings())})


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
