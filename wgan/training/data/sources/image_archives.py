"""Image files in a .zip or a .tar, which are not extracted."""

import abc
import posixpath
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from wgan.errors import DataError, ImageError
from wgan.files import archive_errors, lacks_open_files, why_unreadable
from wgan.runs import run_folders
from wgan.text import plural
from wgan.training.data.sources import ImageSource, fingerprint_files
from wgan.training.data.sources.image_files import FileSource
from wgan.training.data.sources.left_out import describe_runs

MEMBER_LIMIT = 2**26
"""Largest member in bytes that is read from an archive: 64 MiB."""

MAX_LINKS = 40
"""Symbolic links that lead to each other, as many as Linux follows."""

LONGEST_PATH = 4096
"""Bytes of a path, as on Linux."""

_ZIP_START, _TAR_MARK = b"PK\3\4", b"ustar"

_COMPRESSED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")
"""First bytes of gzip, bzip2 and xz."""

READ_AHEAD_LIMIT = 2**28
"""Bytes of members that a compressed tar keeps in memory: 256 MiB."""


Member = TypeVar("Member")
"""What an archive's package calls a member."""


def open_archive(path: Path) -> ImageSource:
    """Open the archive at `path` and list its images.

    Raises:
        DataError: it is damaged, or contains no images.
    """
    try:
        return _kind_of(path)(path)
    except archive_errors() as exc:
        reason = why_unreadable(exc, "is damaged or of another format")
        raise DataError(f"the archive {path} {reason}") from exc


def _kind_of(path: Path) -> "Callable[[Path], _ArchiveSource]":
    """Return the class for an archive by its first bytes, else by its extension."""
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
    name = path.name.lower()
    if start.startswith(_COMPRESSED_STARTS):
        return CompressedTarSource
    if start[257:262] == _TAR_MARK:
        return TarSource
    if start.startswith(_ZIP_START) or name.endswith(".zip"):
        return ZipSource
    return TarSource if name.endswith(".tar") else CompressedTarSource


class _ArchiveSource(FileSource):
    """Base class of archives: members by name, in their order in the file."""

    def __init__(self, path: Path, sizes: Mapping[str, int], unread: Mapping[str, int]) -> None:
        """List the images. `sizes` are the bytes of every member; others as for `FileSource`."""
        name = path.name.partition(".")[0]
        runs = run_folders(sizes)
        inside = tuple(f"{run}/" for run in runs)
        files = [file for file in sizes if not file.startswith(inside)]
        if runs:
            unread = {**unread, describe_runs(runs): len(runs)}
        super().__init__("archive", path, name, files, unread=unread)
        self._sizes = sizes

    def image_name(self, index: int) -> str:
        """Path of the archive and name of the member."""
        return f"{self.path}: {self._names[index]}"

    def fingerprint(self) -> str:
        """Hash of the archive's name, size, modification time and some bytes."""
        return fingerprint_files([self.path])

    def _read(self, name: str) -> bytes:
        size = self._sizes[name]
        if size > MEMBER_LIMIT:  # a few bytes of an archive can unpack to any size
            raise ImageError(f"it has {size} bytes, more than {MEMBER_LIMIT}")
        return self._unpack(name)

    @abc.abstractmethod
    def _unpack(self, name: str) -> bytes:
        """Unpack a member. Raises ImageError."""


class ZipSource(_ArchiveSource):
    """The images in a .zip."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        # Some programs for Windows write backslashes.
        named = [(entry.filename.replace("\\", "/"), entry) for entry in self._archive.infolist()]
        files = [(_path(name), entry) for name, entry in named if not name.endswith("/")]
        self._entries = dict(files)  # of entries with the same name the last, as unzip does
        replaced = len(files) - len(self._entries)
        links = {name: entry for name, entry in self._entries.items() if _is_link(entry)}
        targets = {name: self._target(name, self._entries.pop(name)) for name in links}
        lost = _follow_links(self._entries, targets)
        super().__init__(
            path,
            {name: entry.file_size for name, entry in self._entries.items()},
            {**_replaced(replaced), **_lost_links(lost)},
        )
        self._find_classes()

    def _target(self, name: str, link: zipfile.ZipInfo) -> str:
        """Read where a symbolic link leads to; empty if it cannot be read."""
        try:
            path = self._archive.read(link) if link.file_size <= LONGEST_PATH else b""
        except archive_errors():
            return ""
        target = path.decode("utf-8", "surrogateescape")
        return _target_name(name, target.replace("\\", "/"))

    def _unpack(self, name: str) -> bytes:
        try:
            return self._archive.read(self._entries[name])  # zipfile has its own lock
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


class TarSource(_ArchiveSource):
    """The images in an uncompressed .tar, with random access."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as archive:
            members = _TarMembers(archive)
        if not members.has_end:
            raise tarfile.ReadError("it is truncated")
        self._offsets = {name: member.offset_data for name, member in members.files.items()}
        super().__init__(path, members.sizes, members.unread)
        self._find_classes()

    def _unpack(self, name: str) -> bytes:
        # Threads cannot share a file object, because they would share its position.
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[name])
                return file.read(self._sizes[name])
        except OSError as exc:
            if lacks_open_files(exc):
                raise
            raise ImageError(f"it cannot be read: {exc}") from exc


class CompressedTarSource(_ArchiveSource):
    """The images in a .tar.gz (.bz2, .xz), which can only be read forward.

    Reading nearly in order, as `load_images` does, unpacks it once: the last members, among them
    those that were skipped on the way, are kept in memory up to READ_AHEAD_LIMIT. Reading one that
    was not kept starts over.
    """

    reads_forward = True

    def __init__(self, path: Path) -> None:
        self._archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open for the life of the source
        members = _TarMembers(self._archive)
        self._members = members.files
        self._lock = threading.Lock()
        self._last: tuple[int, bytes] = (-1, b"")  # offset and data of the last extracted member
        super().__init__(path, members.sizes, members.unread)
        self._is_label = frozenset(self._label_files)
        self._rewind()
        self._find_classes()

    def _rewind(self) -> None:
        self._remaining = iter(self._names)
        self._kept: dict[str, bytes] = {}
        self._kept_bytes = 0
        self._seen: set[str] = set()

    def _unpack(self, name: str) -> bytes:
        with self._lock:
            if name in self._is_label:
                return self._extract(name)
            if name in self._kept:  # skipped, or another of its frames was read
                return self._kept[name]
            if name in self._seen:
                self._rewind()
            # Other threads will ask for the members on the way: unpack them now, because going
            # back means to unpack the archive from its start.
            for other in self._remaining:
                self._seen.add(other)
                if other == name:
                    break
                if self._sizes[other] <= MEMBER_LIMIT:
                    self._keep(other, self._extract(other))
            data = self._extract(name)
            self._keep(name, data)
            return data

    def _keep(self, name: str, data: bytes) -> None:
        """Keep a member in memory; the oldest ones make room for it."""
        self._kept[name] = data
        self._kept_bytes += len(data)
        while self._kept_bytes > READ_AHEAD_LIMIT:
            self._kept_bytes -= len(self._kept.pop(next(iter(self._kept))))

    def _extract(self, name: str) -> bytes:
        member = self._members[name]
        if self._last[0] == member.offset_data:  # a link follows its target; no way back to it
            return self._last[1]
        try:
            file = self._archive.extractfile(member)
            assert file is not None  # it is a regular file
            self._last = (member.offset_data, file.read())
            return self._last[1]
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


class _TarMembers:
    """The files in a tar by name, in the order of their data; a link has the data of its target.

    Tars may follow each other in one file, as `cat` joins them.

    Raises:
        tarfile.ReadError: the header of a member is damaged.
    """

    has_end: bool = False
    """Whether blocks of zeros end the tar, as they do unless it is truncated."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._found: dict[str, tarfile.TarInfo] = {}
        self._links: dict[str, str] = {}  # targets of symbolic links
        self._replaced = self._lost = 0
        self._unread: dict[str, int] = {}
        for member in self._read(archive):
            self._add(member)
        self._lost += _follow_links(self._found, self._links)
        self.files = dict(sorted(self._found.items(), key=lambda item: item[1].offset_data))
        self.sizes = {name: member.size for name, member in self.files.items()}
        self.unread = {**_replaced(self._replaced), **_lost_links(self._lost), **self._unread}

    def _read(self, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        part: tarfile.TarFile | None = archive
        while part is not None:
            yield from part
            part = self._next_part(part)

    def _next_part(self, part: tarfile.TarFile) -> tarfile.TarFile | None:
        """Open the tar that follows `part` in the same file; None if there is none."""
        file = part.fileobj
        assert file is not None  # it is open
        self.has_end = False
        try:
            file.seek(part.offset)
            while block := file.read(tarfile.BLOCKSIZE):
                if block.strip(b"\0"):
                    break
                self.has_end = True
            if not block:
                return None
            if self.has_end:
                tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")  # raises, or is a header
                file.seek(file.tell() - len(block))
                return tarfile.open(fileobj=file, mode="r:")
        except archive_errors():  # as a signature, or what a larger file had there before
            self._unread["data after the end of the tar that is not another tar"] = 1
            return None
        raise tarfile.ReadError("the header of a member is damaged")

    def _add(self, member: tarfile.TarInfo) -> None:
        # A sparse member can claim any size in a few bytes, and no image is stored so.
        name = _path(member.name)
        if member.isreg() and not member.issparse():
            self._replace(name, member)
        elif member.islnk():  # to a member before it
            target = self._found.get(_path(member.linkname))
            if target is None:
                self._lost += 1
            else:
                self._replace(name, target)
        elif member.issym():
            self._replaced += name in self._links
            self._replaced += self._found.pop(name, None) is not None
            self._links[name] = _target_name(name, member.linkname)

    def _replace(self, name: str, member: tarfile.TarInfo) -> None:
        old = self._found.pop(name, None)
        # tar writes a file that it is given twice as a link to itself.
        self._replaced += old is not None and old is not member
        self._replaced += self._links.pop(name, None) is not None
        self._found[name] = member


def _path(name: str) -> str:
    """Return the path of a member, the same for `a/1.png`, `./a/1.png` and `a//1.png`."""
    return posixpath.normpath(name)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry of a .zip is a symbolic link: programs for Unix store a file's mode."""
    return stat.S_ISLNK(entry.external_attr >> 16)


def _target_name(name: str, target: str) -> str:
    """Return the name of the member that the symbolic link `name` leads to."""
    return _path(posixpath.join(posixpath.dirname(name), target))


def _follow_links(found: dict[str, Member], targets: Mapping[str, str]) -> int:
    """Add the member that each symbolic link leads to, under the link's name.

    Returns the number of links that lead to nothing in `found`.
    """
    lost = 0
    for name, first in targets.items():
        target = first
        for _ in range(MAX_LINKS):  # they may form a circle
            target = targets.get(target, target)
        if target in found:
            found[name] = found[target]
        else:
            lost += 1
    return lost


def _replaced(count: int) -> dict[str, int]:
    return {f"{plural(count, 'file')} replaced by a later one of the same name": count}


def _lost_links(count: int) -> dict[str, int]:
    return {f"{plural(count, 'link')} to a folder, or to what the archive does not hold": count}
