"""Base class of sources whose images are files in a container: LMDB, parquet, HDF5."""

import abc
import io
import itertools
import re
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from wgan.errors import ImageError
from wgan.training.data.decoding import count_frames, decode, in_threads, quiet_pillow
from wgan.training.data.image_formats import FRAMED_ENDINGS
from wgan.training.data.sources import ImageSource, RawImage, sampled

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


class EncodedSource(ImageSource):
    """Images as the bytes of image files."""

    def image(self, index: int, size: int) -> RawImage:
        """Decode the image. Raises ImageError."""
        return self.frame(index, 0)

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

    def frame_counts(self, limit: int) -> list[int]:
        """Frames or pages in some of the files, at most `limit`, of which the first is used."""
        with quiet_pillow():
            return list(in_threads(self.count_frames, self.some_indices(limit)))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return the file as it is. Raises ImageError."""
        data = self._read(index)
        return data, file_ending(data)

    @abc.abstractmethod
    def _read(self, index: int) -> bytes:
        """Read the bytes of image `index`. Raises ImageError."""


def each_frame(source: EncodedSource) -> ImageSource:
    """Return the frames and pages of the files of a source; itself if each file has one."""
    with quiet_pillow():
        counts = list(in_threads(source.count_frames, range(len(source))))
    return FrameSource(source, counts) if sum(counts) > len(counts) else source


class FrameSource(ImageSource):
    """Every frame and page of the files of another source as an image."""

    def __init__(self, source: EncodedSource, counts: Sequence[int]) -> None:
        """`counts` are the numbers of frames of the files."""
        super().__init__(source.name)
        self._source = source
        self._ends = list(itertools.accumulate(counts))
        if source.labels is not None:
            self.labels = np.repeat(source.labels, counts)
        self.class_names, self.why_no_classes = source.class_names, source.why_no_classes
        self.left_out, self.unused = source.left_out, source.unused

    def __len__(self) -> int:
        return self._ends[-1]

    def image_name(self, index: int) -> str:
        """Name of the file in the other source, and the number of the frame."""
        number, frame = self._find(index)
        return f"{self._source.image_name(number)}, frame {frame}"

    def image(self, index: int, size: int) -> RawImage:
        """Decode the frame. Raises ImageError."""
        return self._source.frame(*self._find(index))

    def some_indices(self, most: int) -> list[int]:
        """Some frames of the files that the other source chooses."""
        files = self._source.some_indices(most)
        return sampled([index for file in files for index in self._frames(file)], most)

    def shuffled(self, random: np.random.RandomState) -> list[int]:
        """The files in the random order of the other source, the frames of each together.

        Files of a table are quick to read in that order only.
        """
        files = self._source.shuffled(random)
        return [
            index for file in files for index in random.permutation(self._frames(file)).tolist()
        ]

    def fingerprint(self) -> str:
        """Fingerprint of the other source."""
        return f"{self._source.fingerprint()} all frames"

    def _find(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and that of the frame in it."""
        number = bisect_right(self._ends, index)
        return number, index - self._frames(number).start

    def _frames(self, number: int) -> range:
        """Return the indices of the frames of a file."""
        return range(self._ends[number - 1] if number else 0, self._ends[number])


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
