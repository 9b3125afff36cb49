"""Image files in a folder, a .zip or a .tar, at any depth; archives are not extracted."""

import abc
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.files import archive_errors, lacks_open_files, why_unreadable
from wgan.training.data.decoding import ENDINGS, decode, is_image_name
from wgan.training.data.sources import ImageSource

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""File name extensions of archives, in lower case."""

MEMBER_LIMIT = 2**26
"""Largest member in bytes that is read from an archive: 64 MiB."""

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
        reason = why_unreadable(exc, "is damaged or of another format")
        raise DataError(f"the archive {path} {reason}") from exc


class _FileSource(ImageSource):
    """Base class: the images among the files of a folder or an archive, by name."""

    def __init__(self, kind: str, path: Path, name: str, files: Collection[str]) -> None:
        super().__init__(name or "images")
        self.path = path
        self._names = [file for file in files if is_image_name(file)]
        self.left_out = len(files) - len(self._names)
        if not self._names:
            found = (
                f"none of its {len(files)} files ends in" if files else "it has no file ending in"
            )
            raise DataError(f"no images in the {kind} {path}: {found} {' '.join(sorted(ENDINGS))}")

    def __len__(self) -> int:
        return len(self._names)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the file. Raises ImageError."""
        name = self._names[index]
        return self._read(name), name.rpartition(".")[2].lower()

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file. Raises ImageError."""


class FolderSource(_FileSource):
    """The images in a folder and its subfolders, sorted by their path."""

    def __init__(self, folder: Path) -> None:
        """List the images; none is opened yet.

        Raises:
            DataError: there are none, or a subfolder cannot be read.
        """
        super().__init__("folder", folder, folder.resolve().name, sorted(_files_below(folder)))

    def image_name(self, index: int) -> str:
        """Path of the image."""
        return str(self.path / self._names[index])

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the file. Raises ImageError."""
        return decode(self._regular_file(self._names[index]))

    def fingerprint(self) -> str:
        """Hash of the paths in the folder, sizes and modification times of all images."""
        digest = hashlib.sha256()
        for name in self._names:
            try:
                # Creating 100,000 Paths would double the time.
                status = os.stat(f"{self.path}/{name}")  # noqa: PTH116
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as exc:  # a broken link; reported when it is decoded
                state = type(exc).__name__
            digest.update(os.fsencode(f"{name}\0{state}\n"))  # names need not be UTF-8
        return digest.hexdigest()

    def _read(self, name: str) -> bytes:
        path = self._regular_file(name)
        try:
            return path.read_bytes()
        except OSError as exc:
            if lacks_open_files(exc):  # no fault of the image, as in `decode`
                raise
            raise ImageError(f"it cannot be read: {exc.strerror}") from exc

    def _regular_file(self, name: str) -> Path:
        path = self.path / name
        try:
            is_special = path.exists() and not path.is_file()
        except OSError as exc:
            raise ImageError(f"it cannot be read: {exc.strerror}") from exc
        if is_special:  # opening a pipe would block
            raise ImageError("it is not a regular file")
        return path


class _ArchiveSource(_FileSource):
    """Base class of archives: members by name, in their order in the file."""

    def __init__(self, path: Path, sizes: Mapping[str, int]) -> None:
        """`sizes` maps the name of every member to its size in bytes."""
        super().__init__("archive", path, path.name.partition(".")[0], sizes)
        self._sizes = sizes

    def image_name(self, index: int) -> str:
        """Path of the archive and name of the member."""
        return f"{self.path}: {self._names[index]}"

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the member. Raises ImageError."""
        return decode(io.BytesIO(self.encoded(index)[0]))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the member. Raises ImageError."""
        size = self._sizes[self._names[index]]
        if size > MEMBER_LIMIT:  # a few bytes of an archive can unpack to any size
            raise ImageError(f"it has {size} bytes, more than {MEMBER_LIMIT}")
        return super().encoded(index)

    def fingerprint(self) -> str:
        """Name, size and modification time of the archive."""
        status = self.path.stat()
        return f"{self.path.name} {status.st_size} {status.st_mtime_ns}"


class ZipSource(_ArchiveSource):
    """The images in a .zip."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        super().__init__(path, {entry.filename: entry.file_size for entry in entries})

    def _read(self, name: str) -> bytes:
        try:
            return self._archive.read(name)  # zipfile has its own lock
        except archive_errors() as exc:
            raise ImageError(f"it cannot be unpacked: {exc}") from exc


class TarSource(_ArchiveSource):
    """The images in an uncompressed .tar, with random access."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path, "r:") as archive:
            members = _regular_members(archive)
            end = archive.offset
        if path.stat().st_size <= end:  # a complete tar ends in blocks of zeros
            raise tarfile.ReadError("it is truncated")
        self._offsets = {name: member.offset_data for name, member in members.items()}
        super().__init__(path, {name: member.size for name, member in members.items()})

    def _read(self, name: str) -> bytes:
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

    def __init__(self, path: Path) -> None:
        self._archive = tarfile.open(path, "r:*")  # noqa: SIM115 - open for the life of the source
        self._members = _regular_members(self._archive)
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
            # Other threads will ask for the members on the way: unpack them now, because going
            # back means to unpack the archive from its start.
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


def _files_below(folder: Path) -> list[str]:
    """List the files under `folder` as relative POSIX paths; links are followed once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        status = Path(root).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:  # a link to a parent folder
            folders.clear()  # os.walk does not descend
            continue
        seen.add(identity)
        inside = Path(root).relative_to(folder).as_posix()
        found += files if inside == "." else [f"{inside}/{name}" for name in files]
    return found


def _raise_unreadable(exc: OSError) -> None:
    raise DataError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc


def _regular_members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    # A sparse member can claim any size in a few bytes, and no image is stored so.
    return {member.name: member for member in archive if member.isreg() and not member.issparse()}
