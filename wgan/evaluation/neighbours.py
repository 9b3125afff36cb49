"""Nearest neighbours of generated images in the data: the check for memorised images."""

from dataclasses import dataclass

import numpy as np

from wgan.evaluation.feature_metrics import squared_distances
from wgan.evaluation.features import Features
from wgan.evaluation.statistics import BATCH_SIZE, Float64Array
from wgan.images import Pixels, evenly_spaced, grid
from wgan.progress import Progress
from wgan.training.data import Dataset

NEAREST = 7
"""Neighbours shown of each image."""

GAP = 4
"""White pixels between an image and its neighbours."""

MIN_HEIGHT = 64
"""Smaller images are enlarged to about this height."""


@dataclass(frozen=True)
class Neighbours:
    """The real images nearest to some generated ones in feature space."""

    generated: Pixels  # [n, h, w, c]
    pixels: Pixels  # [n, k, h, w, c], the nearest first; k is NEAREST or the size of the data
    distances: Float64Array  # [n, k], Euclidean, in feature space
    real_distances: Float64Array  # [m], of real images, evenly spaced, to their nearest other one

    @property
    def ratio(self) -> float:
        """Median distance of a generated image to its nearest real one, relative to real images'.

        About 1 or more means new images; near 0 the generator repeats its training images.
        """
        real = float(np.median(self.real_distances))
        return float(np.median(self.distances[:, 0])) / real if real > 0 else np.inf

    def sheet(self) -> Pixels:
        """Lay out a row for each generated image and its neighbours, `[height, width, channels]`.

        Each pixel of a small image is enlarged to a square.
        """
        rows = len(self.generated)
        left = grid(self.generated, (rows, 1))
        gap = np.full((len(left), GAP, left.shape[2]), 255, np.uint8)
        k, *shape = self.pixels.shape[1:]
        right = grid(self.pixels.reshape(-1, *shape), (rows, k))
        whole = np.concatenate([left, gap, right], axis=1)
        scale = max(1, MIN_HEIGHT // self.generated.shape[1])
        return whole.repeat(scale, axis=0).repeat(scale, axis=1)


def find_neighbours(
    generated: Pixels,
    data: Dataset,
    count: int,
    features: Features,
    progress: Progress | None = None,
) -> Neighbours:
    """Search `count` real images batch by batch; memory holds one batch and the result.

    `generated` are pixels `[n, height, width, channels]`; the searched images are evenly spaced.

    Raises:
        ModelFileError: as `Features`.
        DataError: a shard is damaged.
    """
    n = len(generated)
    own = _sample_real(data, min(n, count), count)
    # Real images are queries too: each finds itself first, then its nearest other one.
    images = np.concatenate([generated, own])
    queries = features(images).vectors.astype(np.float64)
    rows, k = np.arange(len(queries))[:, None], min(NEAREST, count)
    squares = np.full((len(queries), k), np.inf)
    nearest = np.zeros((len(queries), k, *images.shape[1:]), np.uint8)
    for pixels in data.images(count, BATCH_SIZE):
        new = squared_distances(queries, features(pixels).vectors.astype(np.float64))
        both = np.concatenate([squares, new], axis=1)
        order = np.argsort(both, axis=1, kind="stable")[:, :k]
        squares = both[rows, order]
        # Columns below k are the nearest so far, the others this batch; the index 0 is a filler.
        is_new = order >= k
        kept = nearest[rows, np.where(is_new, 0, order)]
        fresh = pixels[np.where(is_new, order - k, 0)]
        nearest = np.where(is_new[:, :, None, None, None], fresh, kept)
        if progress:
            progress.advance(len(pixels))
    distances = np.sqrt(squares)
    return Neighbours(generated, nearest[:n], distances[:n], distances[n:, 1])


def _sample_real(data: Dataset, n: int, count: int) -> Pixels:
    """Return `n` of the `count` searched images, evenly spaced."""
    indices = set(evenly_spaced(count, n).tolist())
    chosen, done = [], 0
    for pixels in data.images(count, BATCH_SIZE):
        chosen += [each for index, each in enumerate(pixels, done) if index in indices]
        done += len(pixels)
        if len(chosen) == n:
            break
    return np.stack(chosen)
