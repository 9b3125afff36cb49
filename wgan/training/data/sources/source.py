"""What every kind of training data offers: images, counted from 0, each with a label."""

import abc
import contextlib
import functools
import hashlib
import io
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError

PROBES = 16
"""How many images are looked at to tell grey data from coloured."""

DRAWN_SIZE = 128
"""Height and width of data that is drawn, when no other is asked for."""

GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
"""Pillow's modes without colour. A palette (P) counts as coloured."""


class ImageSource(abc.ABC):
    """Images that a run can learn from. All methods may be called from several threads."""

    left_out: int = 0
    """Files that stood among the images and are none: hidden, or of another ending."""

    reads_forward: bool = False
    """Images are quick to read in their order alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Short, for a run's folder: `"glyphs"`, or the last part of a folder's path."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many images there are, damaged ones included."""

    @property
    def count(self) -> int:
        """How many images there are; of shards, which have no length, it is not always known."""
        return len(self)

    @abc.abstractmethod
    def label(self, index: int) -> str:
        """What a message calls image `index`."""

    @abc.abstractmethod
    def image(self, index: int, size: int) -> Image.Image:
        """Image `index`, upright and fully decoded, in whatever mode it is kept.

        Args:
            index: from 0 to `len(self) - 1`.
            size: the height and width that it will be given, in pixels; data that is drawn, not
                read, is drawn at this size.

        Raises:
            ImageError: it is damaged or cannot be used.
        """

    def encoded(self, index: int) -> tuple[bytes, str]:
        """The file of image `index` and its ending, as in `"png"`; drawn data is encoded first.

        Raises:
            ImageError: it cannot be read. Whether it can be decoded is not known yet.
        """
        buffer = io.BytesIO()
        self.image(index, DRAWN_SIZE).save(buffer, "PNG")
        return buffer.getvalue(), "png"

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A name for the contents, quick to tell: equal as long as the images are the same."""

    @property
    def channels(self) -> int:
        """The channels that suit the data: 1 if the first images are all grey, otherwise 3."""
        return suitable_channels(
            functools.partial(self.image, index, DRAWN_SIZE)
            for index in range(min(PROBES, len(self)))
        )


class ArraySource(ImageSource):
    """Images that are decoded already: uint8 `[n, height, width]` or `[n, height, width, 3]`."""

    def __init__(self, name: str, pixels: npt.NDArray[np.uint8]) -> None:
        super().__init__(name)
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def label(self, index: int) -> str:
        """The data's name and the image's number."""
        return f"{self.name}, image {index}"

    def image(self, index: int, size: int) -> Image.Image:
        """Wrap the image's pixels."""
        return Image.fromarray(self._pixels[index])

    def fingerprint(self) -> str:
        """A hash of all pixels."""
        return hashlib.sha256(np.ascontiguousarray(self._pixels).data).hexdigest()


def suitable_channels(images: Iterable[Callable[[], Image.Image]]) -> int:
    """1 if all good ones of some images are grey, otherwise 3.

    Each is given as a function that opens it; a damaged one, which raises ImageError, has no say.
    """
    modes = set()
    for open_image in images:
        with contextlib.suppress(ImageError):  # it is named when all images are loaded
            modes.add(open_image().mode)
    return 1 if modes and modes <= GREY_MODES else 3
