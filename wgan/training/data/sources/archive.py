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
from wgan.training.data.decode import decode, is_image_name
from wgan.training.data.sources.folder import no_images
from wgan.training.data.sources.source import ImageSource

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""The endings of files that are taken for archives, in lower case."""

MEMBER_LIMIT = 2**26
"""A member of more bytes than this is not read: 64 MiB."""

KEPT_LIMIT = 2**28
"""Bytes of members that are kept for later while a compressed tar is read forward: 256 MiB."""


def open_archive(path: Path) -> ImageSource:
    """Open the archive at `path`, and list its images.

    Raises:
        DataError: it is damaged, or holds no images.
    """
    try:
        if path.name.lower().endswith(".zip"):
            return ZipSource(path)
        if path.name.lower().endswith(".tar"):
            return TarSource(path)
        return CompressedTarSource(path)
    except archive_errors() as exc:
        raise DataError(f"the archive {path} is damaged or of another kind: {exc}") from exc


class _ArchiveSource(ImageSource):
    """What archives share: members by name, in the order in which they are kept."""

    def __init__(self, path: Path, members: dict[str, int]) -> None:
        """`members` gives every file's size in bytes."""
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
        """The archive's path and the member's."""
        return f"{self.path}: {self._names[index]}"

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the member. Raises ImageError."""
        return decode(io.BytesIO(self.encoded(index)[0]))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The member's bytes. Raises ImageError."""
        name = self._names[index]
        if self._sizes[name] > MEMBER_LIMIT:
            raise ImageError(f"it has {self._sizes[name]} bytes, more than {MEMBER_LIMIT}")
        return self._read(name), name.rpartition(".")[2].lower()

    def fingerprint(self) -> str:
        """The archive's name, size and time of change."""
        status = self.path.stat()
        return f"{self.path.name} {status.st_size} {status.st_mtime_ns}"

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """The bytes of a member that is within MEMBER_LIMIT. Raises ImageError."""


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
    """The images in a plain .tar, each read from its own place."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as archive:
            members = _files(archive)
            end = archive.offset
        if path.stat().st_size <= end:  # a whole one ends in blocks of zeros
            raise tarfile.ReadError("it is cut off")
        self._offsets = {member.name: member.offset_data for member in members}
        super().__init__(path, {member.name: member.size for member in members})

    def _read(self, name: str) -> bytes:
        # A file of its own for each read has no position that threads would fight over.
        try:
            with self.path.open("rb") as file:
                file.seek(self._offsets[name])
                return file.read(self._sizes[name])
        except OSError as exc:
            raise ImageError(f"it cannot be read: {exc}") from exc


class CompressedTarSource(_ArchiveSource):
    """The images in a .tar.gz (.bz2, .xz), which can only be read forward.

    Asked nearly in order, as `load_images` does, it is unpacked once: members that are passed
    over on the way to a later one are kept, up to KEPT_LIMIT. Asked for one that is not kept, it
    begins again from the start.
    """

    reads_forward = True

    def __init__(self, path: Path) -> None:
        self._archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open as long as the source is
        self._members = {member.name: member for member in _files(self._archive)}
        self._lock = threading.Lock()
        super().__init__(path, {name: member.size for name, member in self._members.items()})
        self._rewind()

    def _rewind(self) -> None:
        self._ahead = iter(self._names)
        self._kept: dict[str, bytes] = {}
        self._passed: set[str] = set()

    def _read(self, name: str) -> bytes:
        with self._lock:
            if name in self._kept:
                return self._kept.pop(name)
            if name in self._passed:
                self._rewind()
            for other in self._ahead:
                self._passed.add(other)
                if other == name:
                    break
                if self._sizes[other] + sum(map(len, self._kept.values())) <= KEPT_LIMIT:
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
    # A sparse member's size is a claim that costs nothing to make; no image is kept so.
    return [member for member in archive if member.isreg() and not member.issparse()]
