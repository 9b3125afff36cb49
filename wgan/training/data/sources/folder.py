"""A folder of images, at any depth."""

import hashlib
import os
from pathlib import Path

from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.training.data.decode import ENDINGS, decode, is_image_name
from wgan.training.data.sources.source import ImageSource


class FolderSource(ImageSource):
    """The images under a folder, sorted by their path in it."""

    def __init__(self, folder: Path) -> None:
        """Look for the images; none is opened yet.

        Raises:
            DataError: there are none, or a folder in it may not be read.
        """
        super().__init__(folder.resolve().name or "images")
        self.folder = folder
        names = _files(folder)
        self._names = sorted(name for name in names if is_image_name(name))
        self.left_out = len(names) - len(self._names)
        if not self._names:
            raise no_images(f"the folder {folder}", len(names))

    def __len__(self) -> int:
        return len(self._names)

    def label(self, index: int) -> str:
        """The image's path."""
        return str(self.folder / self._names[index])

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the image's file. Raises ImageError."""
        return decode(self._file(index))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The image's file. Raises ImageError."""
        path = self._file(index)
        try:
            return path.read_bytes(), path.suffix[1:].lower()
        except OSError as exc:
            raise ImageError(f"it cannot be read: {exc.strerror}") from exc

    def _file(self, index: int) -> Path:
        path = self.folder / self._names[index]
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise ImageError("it is no ordinary file")
        return path

    def fingerprint(self) -> str:
        """A hash of all images' paths in the folder, sizes and times of change."""
        digest = hashlib.sha256()
        for name in self._names:
            digest.update(f"{name}\0{_state(f'{self.folder}/{name}')}\n".encode())
        return digest.hexdigest()


def no_images(where: str, others: int) -> DataError:
    """The error for a place that holds `others` files, but no image."""
    found = f"none of its {others} files ends in" if others else "it is empty of files ending in"
    return DataError(f"no images in {where}: {found} {' '.join(sorted(ENDINGS))}")


def _files(folder: Path) -> list[str]:
    """All files under `folder`, as paths in it with forward slashes; links are followed once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = Path(root).stat()
        place = (status.st_dev, status.st_ino)
        if place in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(place)
        inside = Path(root).relative_to(folder).as_posix()
        found += files if inside == "." else [f"{inside}/{name}" for name in files]
    return found


def _state(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of 100,000 files takes as long again
    except OSError as exc:  # a link that leads nowhere; it is named when it is decoded
        return type(exc).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def _refuse(exc: OSError) -> None:
    raise DataError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc
