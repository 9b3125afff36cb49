"""Has the generator learned by heart? Its images beside the nearest ones that it learned from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wgan.evaluation.feature_statistics import Advance
from wgan.evaluation.features import Features, Vectors
from wgan.evaluation.manifold import squared_distances
from wgan.evaluation.moments import Array
from wgan.evaluation.reference_statistics import images_of
from wgan.images import Pixels, grid
from wgan.training.data import InMemoryDataset, StreamingDataset

SHOWN = 16
"""Samples in the image."""

NEAREST = 7
"""Neighbours beside each."""

GAP = 4
"""White pixels between a sample and its neighbours."""

SMALL = 64
"""Images of fewer pixels are enlarged to about so many, to be seen."""


@dataclass(frozen=True)
class Neighbours:
    """The images of the data that are nearest to some samples in feature space."""

    samples: Pixels  # [n, h, w, c]
    pixels: Pixels  # [n, k, h, w, c], the nearest first; k is NEAREST, or the data's size
    distances: Array  # [n, k], Euclidean, of the feature vectors
    usual: Array  # [m]: from images of the data, evenly spaced, to their nearest other one

    @property
    def ratio(self) -> float:
        """How far samples are from their nearest image, as a share of what is usual in the data.

        Medians. About 1 or more is what a generator that invents has; near 0 it repeats images.
        """
        usual = float(np.median(self.usual))
        return float(np.median(self.distances[:, 0])) / usual if usual > 0 else np.inf

    def sheet(self) -> Pixels:
        """A row for each sample: it, a gap, its neighbours; `[height, width, channels]`.

        Small images are enlarged, each pixel to a square.
        """
        rows = len(self.samples)
        left = grid(self.samples, (rows, 1))
        gap = np.full((len(left), GAP, left.shape[2]), 255, np.uint8)
        k, *shape = self.pixels.shape[1:]
        right = grid(self.pixels.reshape(-1, *shape), (rows, k))
        whole = np.concatenate([left, gap, right], axis=1)
        scale = max(1, SMALL // self.samples.shape[1])
        return whole.repeat(scale, axis=0).repeat(scale, axis=1)


def find_neighbours(
    samples: Pixels,
    data: InMemoryDataset | StreamingDataset,
    count: int,
    features: Features,
    advance: Advance | None = None,
) -> Neighbours:
    """Search `count` images of the data once; memory is that of a batch and what is found.

    Args:
        samples: `[n, height, width, channels]`.
        data: the images that the generator learned from.
        count: how many of them are searched, evenly spaced.
        features: the network whose vectors' distances count.
        advance: told of images that are done.

    Raises:
        ModelFileError: as `Features`.
        DataError: a shard is damaged.
    """
    n = len(samples)
    own = _evenly(data, min(n, count), count)
    # As many images of the data take part in the search: each finds itself, then its nearest.
    queries = np.concatenate([samples, own])
    ranking = _Ranking(features(queries).vectors, min(NEAREST, count), queries.shape[1:])
    for pixels in images_of(data, count):
        ranking.add(pixels, features(pixels).vectors)
        if advance:
            advance(len(pixels))
    found = np.sqrt(ranking.squares)
    return Neighbours(samples, ranking.pixels[:n], found[:n], found[n:, 1])


def _evenly(data: InMemoryDataset | StreamingDataset, n: int, count: int) -> Pixels:
    """`n` of the `count` images that are searched."""
    places = set((np.arange(n) * count // n).tolist())
    chosen, done = [], 0
    for pixels in images_of(data, count):
        chosen += [each for place, each in enumerate(pixels, done) if place in places]
        done += len(pixels)
        if len(chosen) == n:
            break
    return np.stack(chosen)


class _Ranking:
    """The nearest so far to each of some queries."""

    def __init__(self, queries: Vectors, k: int, shape: tuple[int, ...]) -> None:
        self._queries = queries.astype(np.float64)
        self._rows = np.arange(len(queries))[:, None]
        self.squares: npt.NDArray[np.float64] = np.full((len(queries), k), np.inf)
        self.pixels: Pixels = np.zeros((len(queries), k, *shape), np.uint8)

    def add(self, pixels: Pixels, vectors: Vectors) -> None:
        """Rank some more images."""
        new = squared_distances(self._queries, vectors.astype(np.float64))
        both = np.concatenate([self.squares, new], axis=1)
        k = self.squares.shape[1]
        order = np.argsort(both, axis=1, kind="stable")[:, :k]
        self.squares = both[self._rows, order]
        is_new = order >= k
        kept = self.pixels[self._rows, np.where(is_new, 0, order)]
        fresh = pixels[np.where(is_new, order - k, 0)]
        self.pixels = np.where(is_new[:, :, None, None, None], fresh, kept)
