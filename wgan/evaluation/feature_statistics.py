"""What the metrics need to know of a set of images, taken a batch at a time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wgan.evaluation.features import Features
from wgan.evaluation.metrics import ScoreTally
from wgan.evaluation.moments import Moments
from wgan.images import Pixels

KEPT = 10_000
"""At most so many vectors of a set are kept, for the metrics that compare images one by one: of
2,048 numbers they take 82 MB. FID and Inception Score take every image into account."""

Advance = Callable[[int], object]
"""Told how many more images are done."""


@dataclass(frozen=True)
class Summary:
    """A set of images, as a feature network sees them."""

    moments: Moments  # of all of them
    vectors: npt.NDArray[np.float32]  # [m, d] of at most KEPT of them, evenly spaced
    score: float | None = None  # the Inception Score, where the network classifies

    @property
    def count(self) -> int:
        """How many images there were."""
        return self.moments.count


def summarise(
    batches: Iterable[Pixels], count: int, features: Features, advance: Advance | None = None
) -> Summary:
    """Look at `count` images, `[n, height, width, channels]` at a time.

    Memory is that of a batch, of KEPT vectors and of a covariance, however many images come.

    Raises:
        ModelFileError: as `Features`.
    """
    moments: Moments | None = None
    kept: list[npt.NDArray[np.float32]] = []
    tally = ScoreTally(count) if features.has_logits else None
    done = 0
    for pixels in batches:
        seen = features(pixels)
        moments = Moments.of(seen.vectors) + moments if moments else Moments.of(seen.vectors)
        kept.append(seen.vectors[is_kept(np.arange(done, done + len(pixels)), count)])
        if tally is not None:
            assert seen.logits is not None, "the features say that they have them"
            tally.add(seen.logits)
        done += len(pixels)
        if advance:
            advance(len(pixels))
    assert moments is not None
    assert done == count, f"{done} images came, {count} were announced"
    return Summary(moments, np.concatenate(kept), tally.score if tally else None)


def is_kept(places: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Which of the images at `places`, of `count`, are among the KEPT that are evenly spaced."""
    most = min(KEPT, count)
    return places * most // count < (places + 1) * most // count
