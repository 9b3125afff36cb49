"""A folder of images, at any depth."""

import hashlib
import os
from pathlib import Path

from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.training.data.decoding import ENDINGS, decode, is_image_name
from wgan.training.data.sources.source import ImageSource


class FolderSource(ImageSource):
    """The images in a folder and its subfolders, sorted by their path."""

    def __init__(self, folder: Path) -> None:
        """List the images; none is opened yet.

        Raises:
            DataError: there are none, or a subfolder cannot be read.
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
        """Path of the image."""
        return str(self.folder / self._names[index])

    def image(self, index: int, size: int) -> Image.Image:
        """Decode the file. Raises ImageError."""
        return decode(self._file(index))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Read the file. Raises ImageError."""
        path = self._file(index)
        try:
            return path.read_bytes(), path.suffix[1:].lower()
        except OSError as exc:
            raise ImageError(f"it cannot be read: {exc.strerror}") from exc

    def _file(self, index: int) -> Path:
        path = self.folder / self._names[index]
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise ImageError("it is not a regular file")
        return path

    def fingerprint(self) -> str:
        """Hash of the paths in the folder, sizes and modification times of all images."""
        digest = hashlib.sha256()
        for name in self._names:
            state = _state(f"{self.folder}/{name}")
            digest.update(os.fsencode(f"{name}\0{state}\n"))  # names need not be UTF-8
        return digest.hexdigest()


def no_images(where: str, others: int) -> DataError:
    """Error for a folder or archive of `others` files without an image."""
    found = f"none of its {others} files ends in" if others else "it has no file ending in"
    return DataError(f"no images in {where}: {found} {' '.join(sorted(ENDINGS))}")


def _files(folder: Path) -> list[str]:
    """List the files under `folder` as relative POSIX paths; links are followed once."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = Path(root).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add(identity)
        inside = Path(root).relative_to(folder).as_posix()
        found += files if inside == "." else [f"{inside}/{name}" for name in files]
    return found


def _state(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - creating 100,000 Paths would double the time
    except OSError as exc:  # a broken link; reported when it is decoded
        return type(exc).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def _refuse(exc: OSError) -> None:
    raise DataError(f"the folder {exc.filename} cannot be read: {exc.strerror}") from exc
