"""Image files by name, in a folder here and in archives in `image_archives.py`, at any depth."""

import abc
import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from wgan.errors import DataError, ImageError
from wgan.files import lacks_open_files
from wgan.runs import looks_like_run
from wgan.training.data.decoding import (
    alpha_extremes,
    count_frames,
    decode,
    in_threads,
    quiet_pillow,
)
from wgan.training.data.image_formats import ENDINGS, FRAMED_ENDINGS, ending_of, is_image_name
from wgan.training.data.sources import (
    PROBED_IMAGES,
    RawImage,
    hash_blocks,
    sampled,
)
from wgan.training.data.sources.frames import FramedSource
from wgan.training.data.sources.labelling import classes_of_files, is_label_file
from wgan.training.data.sources.left_out import (
    describe_left_out,
    describe_links,
    describe_runs,
    describe_unread_labels,
)
from wgan.training.data.sources.splits import describe_splits
from wgan.training.data.tiff import is_alpha

_TIFF = (".tif", ".tiff")


class FileSource(FramedSource):
    """Base class: the images among the files of a folder or an archive, by name."""

    def __init__(
        self,
        kind: str,
        path: Path,
        name: str,
        files: Collection[str],
        is_image: Callable[[str], bool] = is_image_name,
        unread: Mapping[str, int] | None = None,
    ) -> None:
        """`unread` has the number of files that `files` lacks, by a phrase that describes them."""
        super().__init__(name or "images")
        self.path = path
        self._names = [file for file in files if is_image(file)]
        others = [file for file in files if not is_image(file)]
        missing = {phrase: count for phrase, count in (unread or {}).items() if count}
        self.left_out = len(others) + sum(missing.values())
        self.unused = (
            *describe_left_out(others, kind == "archive", bool(self._names)),
            *missing,
        )
        if not self._names:
            found = f"none of its {len(files)} files" if files else "it has no file that"
            beside = f"; it has {'; '.join(self.unused)}" if self.unused else ""
            endings = " ".join(sorted(ENDINGS))
            raise DataError(f"no images in the {kind} {path}: {found} ends in {endings}{beside}")
        self.splits = describe_splits(str(path), self._names, kind == "archive")
        self._label_files = [file for file in others if is_label_file(file)]
        self._unread_labels = describe_unread_labels(others)

    def _find_classes(self) -> None:
        """Set the classes; the files can be read by now."""
        classes = classes_of_files(self._names, self._label_files, self._read)
        self.labels, self.class_names = classes.labels, classes.names
        if classes.labels is None:
            self.why_no_classes = classes.reason or self._unread_labels

    def __len__(self) -> int:
        return len(self._names)

    def ending(self, index: int) -> str:
        """Extension of the file."""
        return ending_of(self._names[index])

    def frame_counts(self, limit: int) -> list[int]:
        """Frames or pages in some of the files, at most `limit`, of which the first is used."""
        if self.reads_forward:
            return []
        framed = [k for k, name in enumerate(self._names) if ending_of(name) in FRAMED_ENDINGS]
        with quiet_pillow():
            return list(in_threads(self.count_frames, sampled(framed, limit)))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the file. Raises ImageError.

        A TIFF that marks its fourth band as alpha is decoded: all images decide that, not each.
        """
        name = self._names[index]
        is_tiff = ending_of(name) in _TIFF and self._tiff_alpha is not None
        if is_tiff and alpha_extremes(self._file(name)) is not None:
            return super().encoded(index)
        return self._read(name), ending_of(name).lstrip(".")

    def frame(self, index: int, number: int) -> RawImage:
        """Decode a frame or page of the file. Raises ImageError."""
        name = self._names[index]
        alpha = self._tiff_alpha if ending_of(name) in _TIFF else None
        return decode(self._file(name), number, alpha)

    def count_frames(self, index: int) -> int:
        """Return the number of frames or pages of the file; 1 if it is damaged."""
        name = self._names[index]
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
                extreme = alpha_extremes(self._file(name))
                if extreme is not None:
                    found.append(extreme)
        return is_alpha(np.concatenate(found)) if found else None

    def _file(self, name: str) -> BinaryIO | Path:
        """Return what `decode` reads. Raises ImageError."""
        return io.BytesIO(self._read(name))

    @abc.abstractmethod
    def _read(self, name: str) -> bytes:
        """Read a file. Raises ImageError."""


class FolderSource(FileSource):
    """The images in a folder and its subfolders, sorted by their path."""

    def __init__(
        self,
        folder: Path,
        files: Sequence[str] | None = None,
        is_image: Callable[[str], bool] = is_image_name,
        unread: Mapping[str, int] | None = None,
    ) -> None:
        """List the images; none is opened yet.

        Args:
            folder: the folder.
            files: paths in it; None for all below it.
            is_image: which of the files are images.
            unread: the number of files or folders that `files` lacks, by a phrase.

        Raises:
            DataError: there are none, or a subfolder cannot be read.
        """
        if files is None:
            below = files_below(folder)
            files, unread = below.files, below.unread
        name = folder.resolve().name
        super().__init__("folder", folder, name, sorted(files), is_image, unread)
        self._find_classes()

    def image_name(self, index: int) -> str:
        """Path of the image."""
        return str(self.path / self._names[index])

    def _file(self, name: str) -> BinaryIO | Path:
        return self._regular_file(name)

    def fingerprint(self) -> str:
        """Hash of the paths in the folder, sizes and modification times, and of some bytes."""
        digest = hashlib.sha256()
        for name in self._names:
            try:
                # Creating 100,000 Paths would double the time.
                status = os.stat(f"{self.path}/{name}")  # noqa: PTH116
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError as exc:  # a broken link; reported when it is decoded
                state = type(exc).__name__
            digest.update(os.fsencode(f"{name}\0{state}\n"))  # names need not be UTF-8
        digest.update(hash_blocks(self.path / name for name in sampled(self._names)))
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


class FilesBelow(NamedTuple):
    """Files under a folder, and folders in it that are not read, as relative POSIX paths."""

    files: list[str]
    links: list[str]  # to folders that are among them
    runs: list[str]  # wgan's, whose previews are no data

    @property
    def unread(self) -> dict[str, int]:
        """Number of the folders that are not read, by a phrase that describes them."""
        return {
            describe_links(self.links): len(self.links),
            describe_runs(self.runs): len(self.runs),
        }


def files_below(folder: Path) -> FilesBelow:
    """List the files under `folder`; each folder once, even if links lead to it.

    Run folders of wgan below it are left out. Links are followed in the order of their paths, after
    the folders: so a folder keeps its name.

    Raises:
        DataError: a subfolder cannot be read.
    """
    below = FilesBelow([], [], [])
    seen: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        inside = pending.pop(0)
        if inside and _identity(folder / inside) in seen:
            below.links.append(inside)
        else:
            found = _walk(folder, inside, seen)
            below.files.extend(found.files)
            below.runs.extend(found.runs)
            pending += sorted(found.links)
    return below


def _walk(folder: Path, inside: str, seen: set[tuple[int, int]]) -> FilesBelow:
    """List the files, links to folders and runs below a subfolder, except in folders `seen`."""
    found = FilesBelow([], [], [])
    for root, folders, files in os.walk(
        folder / inside, onerror=_raise_unreadable, followlinks=True
    ):
        parent = Path(root).relative_to(folder).as_posix()
        if parent != "." and looks_like_run((*folders, *files)):
            found.runs.append(parent)
            folders.clear()
            continue
        identity = _identity(Path(root))
        if identity in seen:  # below a link to a folder above the data
            folders.clear()  # os.walk does not descend
            continue
        seen.add(identity)
        prefix = "" if parent == "." else f"{parent}/"
        links = [name for name in folders if Path(root, name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links))
        found.files.extend(f"{prefix}{name}" for name in files)
        found.links.extend(f"{prefix}{name}" for name in links)
    return found


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _raise_unreadable(exc: OSError) -> None:
    raise DataError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc
