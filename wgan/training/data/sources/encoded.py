"""Base class of sources whose images are files in a container: LMDB, parquet, HDF5."""

import abc
import io
import re

from wgan.errors import ImageError
from wgan.training.data.decoding import count_frames, decode
from wgan.training.data.image_formats import FRAMED_ENDINGS
from wgan.training.data.sources import RawImage
from wgan.training.data.sources.frames import FramedSource

_STARTS = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"II+\0": "tif",
    b"MM\0+": "tif",
    b"\0\0\0\x0cjP  ": "jp2",
    b"\xff\x4f\xff\x51": "jp2",
    b"\x93NUMPY": "npy",
}

_PNM = re.compile(rb"P([1-7])[ \t\r\n]+[\d#W]")


class EncodedSource(FramedSource):
    """Images as the bytes of image files."""

    def frame(self, index: int, number: int) -> RawImage:
        """Decode a frame or page of the file. Raises ImageError."""
        return decode(io.BytesIO(self._read(index)), number)

    def count_frames(self, index: int) -> int:
        """Return the number of frames or pages of the file; 1 if it is damaged."""
        try:
            data = self._read(index)
        except ImageError:  # reported when all images are loaded
            return 1
        return count_frames(io.BytesIO(data)) if f".{file_ending(data)}" in FRAMED_ENDINGS else 1

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return the file as it is. Raises ImageError."""
        data = self._read(index)
        return data, file_ending(data)

    @abc.abstractmethod
    def _read(self, index: int) -> bytes:
        """Read the bytes of image `index`. Raises ImageError."""


def file_ending(data: bytes) -> str:
    """Return the extension of an image file by its first bytes, `"png"` if they are unknown."""
    return known_ending(data) or "png"


def known_ending(data: bytes) -> str | None:
    """Return the extension of an image file by its first 16 bytes, None if they are unknown."""
    if data[:4] == b"RIFF":
        return "webp"
    if data[4:8] == b"ftyp":
        return "avif" if data[8:11] == b"avi" else "heic"
    if _PNM.match(data):
        return "pnm"
    return next((ending for start, ending in _STARTS.items() if data.startswith(start)), None)
