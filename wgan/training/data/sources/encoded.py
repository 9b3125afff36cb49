"""Base class of sources whose images are files in a container: LMDB, parquet."""

import abc
import io

from wgan.training.data.decoding import decode
from wgan.training.data.sources import ImageSource, RawImage

_STARTS = {
    b"\x89PNG": "png",
    b"\xff\xd8\xff": "jpg",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"II+\0": "tif",
    b"MM\0+": "tif",
    b"\x93NUMPY": "npy",
}


class EncodedSource(ImageSource):
    """Images as the bytes of image files."""

    def image(self, index: int, size: int) -> RawImage:
        """Decode the image. Raises ImageError."""
        return decode(io.BytesIO(self._read(index)))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return the file as it is. Raises ImageError."""
        data = self._read(index)
        return data, file_ending(data)

    @abc.abstractmethod
    def _read(self, index: int) -> bytes:
        """Read the bytes of image `index`. Raises ImageError."""


def file_ending(data: bytes) -> str:
    """Return the extension of an image file by its first bytes, `"png"` if they are unknown."""
    if data[:4] == b"RIFF":
        return "webp"
    if data[4:8] == b"ftyp":
        return "avif" if data[8:11] == b"avi" else "heic"
    return next((ending for start, ending in _STARTS.items() if data.startswith(start)), "png")
