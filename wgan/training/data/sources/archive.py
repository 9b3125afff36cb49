"""A .zip or .tar of images, read without extracting it."""

import abc
import io
import tarfile
import threading
import zipfile
from pathlib import Path

from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.files import archive_errors
from wgan.training.data.decoding import decode, is_image_name
from wgan.training.data.sources.folder import no_images
from wgan.training.data.sources.source import ImageSource

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""File name extensions of archives, in lower case."""

MEMBER_LIMIT = 2**26
"""Largest member in bytes that is read: 64 MiB."""

READ_AHEAD_LIMIT = 2**28
"""Bytes of skipped members that a compressed tar keeps in memory: 256 MiB."""


def open_archive(path: Path) -> ImageSource:
    """Open the archive at `path` and list its images.

    Raises:
        DataError: it is damaged, or contains no images.
    """
    try:
        if path.name.lower().endswith(".zip"):
            return ZipSource(path)
        if path.name.lower().endswith(".tar"):
            return TarSource(path)
        return CompressedTarSource(path)
    except archive_errors() as exc:
        raise DataError(f"the archive {path} is damaged or of another format: {exc}") from exc


class _ArchiveSource(ImageSource):
    """Base class of archives: members by name, in their order in the file."""

    def __init__(self, path: Path, members: dict[str, int]) -> None:
        """`members` maps every file to its size in bytes."""
        super().__init__(path.name.partition(".")[0] or "images")
        self.path = path
        self._names = [name for name in members if is_image_name(name)]
        self._sizes = members
        self.left_out = len(members) - len(self._names)
        if not self._names:
            raise no_images(f"the archive {path}", len(members))

    def __len__(self) -> int:
        return len(self._names)

    def label(self, index: int) -> str:
        """Path of the archive and name of the member."""
        return f"{self.path}: {self._names[index]}"

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the member. Raises ImageError."""
        return decode(io.BytesIO(self.encoded(index)[0]))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the member. Raises ImageError."""
        name = self._names[index]
        if self._sizes[name] > MEMBER_LIMIT:
            raise ImageError(f"it has {self._sizes[name]} bytes, more than {MEMBER_LIMIT}")
        return self._read(name), name.rpartition(".")[2].lower()

    def fingerprint(self) -> str:
        """Name, size and modification time of the archive."""
        status = self.path.stat()
        return f"{self.path.name} {status.st_size} {status.st_mtime_ns}"

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a member of at most MEMBER_LIMIT bytes. Raises ImageError."""


class ZipSource(_ArchiveSource):
    """The images in a .zip."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        super().__init__(path, {entry.filename: entry.file_size for entry in entries})

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


class TarSource(_ArchiveSource):
    """The images in an uncompressed .tar, with random access."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as archive:
            members = _files(archive)
            end = archive.offset
        if path.stat().st_size <= end:  # a complete tar ends in blocks of zeros
            raise tarfile.ReadError("it is truncated")
        self._offsets = {member.name: member.offset_data for member in members}
        super().__init__(path, {member.name: member.size for member in members})

    def _read(self, name: str) -> bytes:
        # Threads cannot share a file object, because they would share its position.
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[name])
                return file.read(self._sizes[name])
        except OSError as exc:
            raise ImageError(f"it cannot be read: {exc}") from exc


class CompressedTarSource(_ArchiveSource):
    """The images in a .tar.gz (.bz2, .xz), which can only be read forward.

    Reading nearly in order, as `load_images` does, unpacks it once: members that are skipped on
    the way are kept in memory up to READ_AHEAD_LIMIT. Reading one that was not kept starts over.
    """

    reads_forward = True

    def __init__(self, path: Path) -> None:
        self._archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open for the life of the source
        self._members = {member.name: member for member in _files(self._archive)}
        self._lock = threading.Lock()
        super().__init__(path, {name: member.size for name, member in self._members.items()})
        self._rewind()

    def _rewind(self) -> None:
        self._remaining = iter(self._names)
        self._kept: dict[str, bytes] = {}
        self._seen: set[str] = set()

    def _read(self, name: str) -> bytes:
        with self._lock:
            if name in self._kept:
                return self._kept.pop(name)
            if name in self._seen:
                self._rewind()
            for other in self._remaining:
                self._seen.add(other)
                if other == name:
                    break
                if self._sizes[other] + sum(map(len, self._kept.values())) <= READ_AHEAD_LIMIT:
                    self._kept[other] = self._unpack(other)
            return self._unpack(name)

    def _unpack(self, name: str) -> bytes:
        try:
            file = self._archive.extractfile(self._members[name])
            assert file is not None  # it is a regular file
            return file.read()
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


def _files(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    # A sparse member can claim any size in a few bytes, and no image is stored so.
    return [member for member in archive if member.isreg() and not member.issparse()]
