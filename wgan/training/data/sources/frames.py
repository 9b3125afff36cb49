"""Image files of several frames or pages: the first, or each as an image of its own."""

import abc
import itertools
from collections.abc import Sequence

import numpy as np

from wgan.training.data.decoding import in_threads, quiet_pillow
from wgan.training.data.sources import ImageSource, RawImage, locate, sampled


class FramedSource(ImageSource):
    """Base class of sources of image files. The first frame of each is its image."""

    def image(self, index: int, size: int) -> RawImage:
        """Decode the first frame. Raises ImageError."""
        return self.frame(index, 0)

    @abc.abstractmethod
    def frame(self, index: int, number: int) -> RawImage:
        """Decode a frame or page of file `index`. Raises ImageError."""

    @abc.abstractmethod
    def count_frames(self, index: int) -> int:
        """Return the number of frames or pages of file `index`; 1 if it is damaged."""

    def frame_counts(self, limit: int) -> list[int]:
        """Frames or pages in some of the files, at most `limit`, of which the first is used."""
        with quiet_pillow():
            return list(in_threads(self.count_frames, self.some_indices(limit)))


def each_frame(source: FramedSource) -> ImageSource:
    """Return the frames and pages of the files of a source; itself if each file has one."""
    with quiet_pillow():
        counts = list(in_threads(source.count_frames, range(len(source))))
    return AllFramesSource(source, counts) if sum(counts) > len(counts) else source


class AllFramesSource(ImageSource):
    """Every frame and page of the files of another source as an image."""

    def __init__(self, source: FramedSource, counts: Sequence[int]) -> None:
        """`counts` are the numbers of frames of the files."""
        super().__init__(source.name)
        self._source = source
        self._ends = list(itertools.accumulate(counts))
        if source.labels is not None:
            self.labels = np.repeat(source.labels, counts)
        self.class_names, self.why_no_classes = source.class_names, source.why_no_classes
        self.left_out, self.unused = source.left_out, source.unused
        self.splits, self.reads_forward = source.splits, source.reads_forward

    def __len__(self) -> int:
        return self._ends[-1]

    def image_name(self, index: int) -> str:
        """Name of the file in the other source, and the number of the frame."""
        number, frame = self._find(index)
        return f"{self._source.image_name(number)}, frame {frame}"

    def image(self, index: int, size: int) -> RawImage:
        """Decode the frame. Raises ImageError."""
        return self._source.frame(*self._find(index))

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Return a file of one frame as it is, other frames as PNG. Raises ImageError."""
        number, _ = self._find(index)
        if len(self._frames(number)) == 1:
            return self._source.encoded(number)
        return super().encoded(index)

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

    def ending(self, index: int) -> str:
        """Extension of the frame's file in the other source."""
        number, _ = self._find(index)
        return self._source.ending(number)

    def fingerprint(self) -> str:
        """Fingerprint of the other source."""
        return f"{self._source.fingerprint()} all frames"

    def _find(self, index: int) -> tuple[int, int]:
        """Return the number of the file, and that of the frame in it."""
        return locate(self._ends, index)

    def _frames(self, number: int) -> range:
        """Return the indices of the frames of a file."""
        return range(self._ends[number - 1] if number else 0, self._ends[number])
