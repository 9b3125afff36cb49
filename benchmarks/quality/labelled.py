"""MNIST and its relatives with their labels, padded to 32x32."""

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError
from wgan.images import Pixels

PADDING = 2
"""Black pixels around the 28x28 that the files hold: nothing is resampled."""

PARTS = {"train": "train", "test": "t10k"}

CLASSES = 10


@dataclass(frozen=True)
class Labelled:
    """Grey images and what each shows."""

    pixels: Pixels  # [n, 32, 32, 1]
    labels: npt.NDArray[np.int64]  # [n], 0 to 9

    @classmethod
    def load(cls, folder: Path, part: str) -> Self:
        """Read a part ("train" or "test") of the idx files in `folder`.

        Raises:
            DataError: they are not there.
        """
        images = _values(folder / f"{PARTS[part]}-images-idx3-ubyte.gz", header=16)
        labels = _values(folder / f"{PARTS[part]}-labels-idx1-ubyte.gz", header=8)
        border = (PADDING, PADDING)
        pixels = np.pad(images.reshape(-1, 28, 28, 1), ((0, 0), border, border, (0, 0)))
        return cls(pixels, labels.astype(np.int64))

    def first(self, n: int) -> Self:
        """The first `n` images."""
        return type(self)(self.pixels[:n], self.labels[:n])


def _values(path: Path, header: int) -> npt.NDArray[np.uint8]:
    if not path.exists():
        raise DataError(f"there is no {path}: give the folder of the four idx files with --data")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
