"""Image files in a folder, a .zip or a .tar, at any depth; archives are not extracted."""

import abc
import contextlib
import functools
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.files import archive_errors, lacks_open_files, why_unreadable
from wgan.images import evenly_spaced
from wgan.training.data.decoding import count_frames, decode, in_threads, quiet_pillow
from wgan.training.data.image_formats import ENDINGS, FRAMED_ENDINGS, ending_of, is_image_name
from wgan.training.data.sources import PROBED_IMAGES, ImageSource, RawImage
from wgan.training.data.sources.labelling import classes_of_folders, classes_of_json
from wgan.training.data.sources.left_out import describe_left_out
from wgan.training.data.tiff import is_alpha

LABELS_FILE = "dataset.json"
"""Labels beside the images, as the tool of StyleGAN2-ADA writes them."""

MEMBER_LIMIT = 2**26
"""Largest member in bytes that is read from an archive: 64 MiB."""

_TIFF = (".tif", ".tiff")

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


class _FileSource(ImageSource):
    """Base class: the images among the files of a folder or an archive, by name."""

    def __init__(
        self,
        kind: str,
        path: Path,
        name: str,
        files: Collection[str],
        frames: str = "first",
        is_image: Callable[[str], bool] = is_image_name,
    ) -> None:
        super().__init__(name or "images")
        self.path = path
        self._names = [file for file in files if is_image(file)]
        others = [file for file in files if not is_image(file)]
        self.left_out = len(others)
        self.unused = describe_left_out(others)
        if not self._names:
            found = f"none of its {len(files)} files" if files else "it has no file that"
            beside = f"; it has {'; '.join(self.unused)}" if files else ""
            endings = " ".join(sorted(ENDINGS))
            raise DataError(f"no images in the {kind} {path}: {found} ends in {endings}{beside}")
        self._has_labels = LABELS_FILE in others
        self._all_frames = frames == "all"

    def _set_up(self) -> None:
        """Find the classes and the frames; the files can be read by now."""
        classes = classes_of_folders(self._names)
        if self._has_labels:
            found = classes_of_json(self._read(LABELS_FILE), self._names)
            classes = found if found.names else classes
        counts = [1] * len(self._names)
        if self._all_frames:
            with quiet_pillow():
                counts = list(in_threads(self._count_frames, self._names))
        self._frames = [
            (name, frame)
            for name, count in zip(self._names, counts, strict=True)
            for frame in range(count)
        ]
        self._has_frames = len(self._frames) > len(self._names)
        self.class_names = classes.names
        if classes.labels is not None:
            self.labels = np.repeat(classes.labels, counts)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def formats(self) -> Mapping[str, int]:
        """Number of image files by their extension."""
        return Counter(map(ending_of, self._names))

    def frame_counts(self, limit: int) -> list[int]:
        """Frames or pages in some of the files, at most `limit`, if only the first is used."""
        names = [name for name in self._names if ending_of(name) in FRAMED_ENDINGS]
        if self._all_frames or self.reads_forward:
            return []
        chosen = [names[k] for k in evenly_spaced(len(names), min(limit, len(names)))]
        with quiet_pillow():
            return list(in_threads(self._count_frames, chosen))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the file; one of several frames becomes a file of its own. Raises ImageError."""
        if self._has_frames:
            return super().encoded(index)
        name = self._frames[index][0]
        return self._read(name), ending_of(name).lstrip(".")

    def image(self, index: int, size: int) -> RawImage:
        """Decode the image. Raises ImageError."""
        name, frame = self._frames[index]
        alpha = self._tiff_alpha if ending_of(name) in _TIFF else None
        return decode(self._file(name), frame, alpha)

    def _count_frames(self, name: str) -> int:
        if ending_of(name) not in FRAMED_ENDINGS:
            return 1
        try:
            return count_frames(self._file(name))
        except ImageError:  # reported when all images are loaded
            return 1

    @functools.cached_property
    def _tiff_alpha(self) -> bool | None:
        """Whether the fourth band of the TIFFs is alpha, the same for all; None if none has it.

        Decided by the first ones that are marked so, because programs mark any fourth band.
        """
        tiffs = [name for name in self._names if ending_of(name) in _TIFF]
        found = []
        for name in tiffs[:PROBED_IMAGES]:
            with contextlib.suppress(ImageError):
                image = decode(self._file(name), alpha=True)
                if isinstance(image, Image.Image) and image.mode == "RGBA":
                    found.append(np.asarray(image)[..., 3].reshape(-1))
        return is_alpha(np.concatenate(found)) if found else None

    def _label(self, name: str, frame: int) -> str:
        return f"{name}, frame {frame}" if self._has_frames else name

    def _file(self, name: str) -> BinaryIO | Path:
        """Return what `decode` reads. Raises ImageError."""
        return io.BytesIO(self._read(name))

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file. Raises ImageError."""


class FolderSource(_FileSource):
    """The images in a folder and its subfolders, sorted by their path."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[str] | None = None,
        frames: str = "first",
        is_image: Callable[[str], bool] = is_image_name,
    ) -> None:
        """List the images; none is opened yet, except to count frames.

        Args:
            folder: the folder.
            files: paths in it; None for all below it.
            frames: `"first"`, or `"all"` for every frame and page as an image.
            is_image: which of the files are images.

        Raises:
            DataError: there are none, or a subfolder cannot be read.
        """
        listed = sorted(files_below(folder) if files is None else files)
        name = folder.resolve().name
        super().__init__("folder", folder, name, listed, frames, is_image)
        self._set_up()

    def image_name(self, index: int) -> str:
        """Path of the image."""
        return self._label(str(self.path / self._frames[index][0]), self._frames[index][1])

    def _file(self, name: str) -> BinaryIO | Path:
        return self._regular_file(name)

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
        return digest.hexdigest() + (" all frames" if self._has_frames else "")

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


def files_below(folder: Path) -> list[str]:
    """List the files under `folder` as relative POSIX paths; links are followed once.

    Raises:
        DataError: a subfolder cannot be read.
    """
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
