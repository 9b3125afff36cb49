"""The images of a source that have a class, for conditional runs."""

import hashlib
from collections.abc import Sequence
from typing import overload

import numpy as np

from wgan.text import plural
from wgan.training.data.shards import Shards
from wgan.training.data.sources import ImageSource, RawImage


@overload
def with_class(source: ImageSource) -> ImageSource: ...
@overload
def with_class(source: ImageSource | Shards) -> ImageSource | Shards: ...
def with_class(source: ImageSource | Shards) -> ImageSource | Shards:
    """Return a source without the images of the label -1: itself if each has a class.

    Shards stay as they are: `class_names` refuses those with images without a class.
    """
    if isinstance(source, Shards) or source.labels is None or (source.labels >= 0).all():
        return source
    return LabelledSource(source)


class LabelledSource(ImageSource):
    """The images of another source whose label is not -1, in their order."""

    def __init__(self, source: ImageSource) -> None:
        super().__init__(source.name)
        assert source.labels is not None, "these images have no labels"
        self._source = source
        self._indices = (source.labels >= 0).nonzero()[0].tolist()
        self.labels, self.class_names = source.labels[self._indices], source.class_names
        self.left_out, self.splits = source.left_out, source.splits
        self.unused = (
            *source.unused,
            f"{plural(len(source) - len(self), 'image')} without a class",
        )
        self.can_be_surveyed, self.reads_forward = source.can_be_surveyed, source.reads_forward

    def __len__(self) -> int:
        return len(self._indices)

    def image_name(self, index: int) -> str:
        """Name that the image has in the other source."""
        return self._source.image_name(self._indices[index])

    def image(self, index: int, size: int) -> RawImage:
        """Image of the other source. Raises ImageError."""
        return self._source.image(self._indices[index], size)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """File of the image in the other source. Raises ImageError."""
        return self._source.encoded(self._indices[index])

    def some_indices(self, most: int) -> list[int]:
        """Indices that the other source looks at, without images that have no class."""
        return self._own(self._source.some_indices(most))

    def shuffled(self, random: np.random.RandomState) -> list[int]:
        """Random order of the other source, without images that have no class."""
        return self._own(self._source.shuffled(random))

    def _own(self, indices: Sequence[int]) -> list[int]:
        own = {index: number for number, index in enumerate(self._indices)}
        return [own[index] for index in indices if index in own]

    def ending(self, index: int) -> str:
        """Extension of the image's file in the other source."""
        return self._source.ending(self._indices[index])

    def frame_counts(self, limit: int) -> list[int]:
        """Those of the other source."""
        return self._source.frame_counts(limit)

    def fingerprint(self) -> str:
        """Fingerprint of the other source, and which of its images have a class."""
        indices = hashlib.sha256(np.array(self._indices, "<i8").tobytes()).hexdigest()
        return f"{self._source.fingerprint()} {indices}"
