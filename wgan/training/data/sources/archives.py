"""Image files in a .zip or a .tar, which are not extracted."""

import abc
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path

from wgan.errors import DataError, ImageError
from wgan.files import archive_errors, lacks_open_files, why_unreadable
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.image_files import FileSource

MEMBER_LIMIT = 2**26
"""Largest member in bytes that is read from an archive: 64 MiB."""

READ_AHEAD_LIMIT = 2**28
"""Bytes of skipped members that a compressed tar keeps in memory: 256 MiB."""


def open_archive(path: Path, frames: str = "first") -> ImageSource:
    """Open the archive at `path` and list its images; `frames` as for `FolderSource`.

    Raises:
        DataError: it is damaged, or contains no images.
    """
    try:
        if path.name.lower().endswith(".zip"):
            return ZipSource(path, frames)
        if path.name.lower().endswith(".tar"):
            return TarSource(path, frames)
        return CompressedTarSource(path, frames)
    except archive_errors() as exc:
        reason = why_unreadable(exc, "is damaged or of another format")
        raise DataError(f"the archive {path} {reason}") from exc


class _ArchiveSource(FileSource):
    """Base class of archives: members by name, in their order in the file."""

    def __init__(self, path: Path, sizes: Mapping[str, int], frames: str) -> None:
        """`sizes` maps the name of every member to its size in bytes."""
        super().__init__("archive", path, path.name.partition(".")[0], sizes, frames)
        self._sizes = sizes

    def image_name(self, index: int) -> str:
        """Path of the archive and name of the member."""
        return f"{self.path}: {self._label(*self._frames[index])}"

    def fingerprint(self) -> str:
        """Name, size and modification time of the archive."""
        status = self.path.stat()
        frames = " all frames" if self._has_frames else ""
        return f"{self.path.name} {status.st_size} {status.st_mtime_ns}{frames}"

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

    def __init__(self, path: Path, frames: str = "first") -> None:
        self._archive = zipfile.ZipFile(path)
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        super().__init__(path, {entry.filename: entry.file_size for entry in entries}, frames)
        self._set_up()

    def _unpack(self, name: str) -> bytes:
        try:
            return self._archive.read(name)  # zipfile has its own lock
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


class TarSource(_ArchiveSource):
    """The images in an uncompressed .tar, with random access."""

    def __init__(self, path: Path, frames: str = "first") -> None:
        with tarfile.open(path, "r:") as archive:
            members = _regular_members(archive)
            end = archive.offset
        if path.stat().st_size <= end:  # a complete tar ends in blocks of zeros
            raise tarfile.ReadError("it is truncated")
        self._offsets = {name: member.offset_data for name, member in members.items()}
        super().__init__(path, {name: member.size for name, member in members.items()}, frames)
        self._set_up()

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

    Reading nearly in order, as `load_images` does, unpacks it once: members that are skipped on
    the way are kept in memory up to READ_AHEAD_LIMIT. Reading one that was not kept starts over.
    """

    reads_forward = True

    def __init__(self, path: Path, frames: str = "first") -> None:
        self._archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open for the life of the source
        self._members = _regular_members(self._archive)
        self._lock = threading.Lock()
        super().__init__(
            path, {name: member.size for name, member in self._members.items()}, frames
        )
        self._rewind()
        self._set_up()
        self._rewind()

    def _rewind(self) -> None:
        self._remaining = iter(self._names)
        self._kept: dict[str, bytes] = {}
        self._seen: set[str] = set()

    def _unpack(self, name: str) -> bytes:
        with self._lock:
            if name in self._label_files:
                return self._extract(name)
            if name in self._kept:
                return self._kept.pop(name)
            if name in self._seen:
                self._rewind()
            # Other threads will ask for the members on the way: unpack them now, because going
            # back means to unpack the archive from its start.
            for other in self._remaining:
                self._seen.add(other)
                if other == name:
                    break
                if self._sizes[other] + sum(map(len, self._kept.values())) <= READ_AHEAD_LIMIT:
                    self._kept[other] = self._extract(other)
            return self._extract(name)

    def _extract(self, name: str) -> bytes:
        try:
            file = self._archive.extractfile(self._members[name])
            assert file is not None  # it is a regular file
            return file.read()
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


def _regular_members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    # A sparse member can claim any size in a few bytes, and no image is stored so.
    return {member.name: member for member in archive if member.isreg() and not member.issparse()}
