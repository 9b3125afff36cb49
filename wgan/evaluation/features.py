"""What a feature network sees in images: the one form that every metric takes."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.images import Pixels

Vectors = npt.NDArray[np.floating]
"""`[n, d]`: a feature vector for each image."""


@dataclass(frozen=True)
class Seen:
    """What a network says of some images."""

    vectors: npt.NDArray[np.float32]  # [n, d]
    logits: npt.NDArray[np.float32] | None = None  # [n, classes], before the softmax


def check_lengths(one: int, two: int) -> None:
    """Raise UsageError unless vectors of so many numbers can be held against each other."""
    if one != two:
        raise UsageError(
            f"vectors of {one} and of {two} numbers cannot be compared: take both from the same"
            " features"
        )


class Features(Protocol):
    """A network from images to vectors. Equal pixels give equal vectors, alone or in a batch."""

    @property
    def name(self) -> str:
        """Short, for a table: `"inception"`, or a file's name."""

    @property
    def key(self) -> str:
        """A hash of the weights and of what is done to pixels before: names cached statistics."""

    @property
    def has_logits(self) -> bool:
        """Whether it classifies as well, as the Inception Score needs."""

    def __call__(self, pixels: Pixels) -> Seen:
        """Look at images, `[n, height, width, channels]`, n from 1 on.

        Raises:
            ModelFileError: the network cannot take such images, or gave something else than
                finite vectors.
        """
