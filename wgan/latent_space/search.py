"""Search for the latents of images: its state, its starts, and CMA-ES, which needs no gradients.

CMA-ES (Hansen 2016, arXiv:1604.00772) draws a population around a mean, keeps its better half, and
moves the mean and the shape of the distribution towards it. All populations of all images are
generated together, in batches.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError, needs_extra
from wgan.images import Images
from wgan.latent_space.config import ProjectConfig
from wgan.latent_space.distance import distance, penalty
from wgan.latents import SEED_LIMIT, Latents, latents_from_seeds
from wgan.progress import Progress
from wgan.runtime import Generator
from wgan.stop import check_stop

if TYPE_CHECKING:
    from wgan.latent_space.models import LatentModel

CANDIDATES = 512
"""Random latents, the nearest of which are where the searches start."""

CMA_DIM_LIMIT = 1024
"""CMA-ES keeps a matrix of this squared for each search, and factorises it in each generation."""

SHEET_SIDE = 64
"""Pixels of an image in a sheet, if it has less."""

FIRST_SIGMA = 0.5
"""First standard deviation of a population; that of latents is 1."""


def generate(
    model: "LatentModel",
    latents: Latents,
    batch_size: int,
    progress: Progress | None = None,
) -> Images:
    """Generate the images of any number of latents, in batches."""
    parts = []
    for start in range(0, len(latents), batch_size):
        check_stop()
        part = latents[start : start + batch_size]
        padded, _ = (
            model.pad(part, None, batch_size) if isinstance(model, Generator) else (part, None)
        )
        parts.append(model.images(padded)[: len(part)])
        if progress is not None:
            progress.advance(len(part))
    return np.concatenate(parts)


class Search:
    """The nearest latents so far of each target.

    The result of a target depends on no other target. The `objectives` are minimized.

    Args:
        model: the generator.
        targets: the images to find, `[n, c, h, w]` in [-1, 1].
        config: the weight of the prior, the seed, the number of starts.

    Attributes:
        latents: `[n, latent_dim]`.
        images: theirs, `[n, c, h, w]`.
        objectives: theirs, `[n]`.
        start_distances: distances of the nearest random images, `[n]`.
    """

    def __init__(
        self,
        model: "LatentModel",
        targets: Images,
        config: ProjectConfig,
    ) -> None:
        self.model, self.targets, self.config = model, targets, config
        self.latents: Latents = np.zeros((len(targets), model.latent_dim), np.float32)
        self.images = np.zeros_like(targets)
        self.objectives = np.full(len(targets), np.inf)
        self.start_distances = self.distances

    @property
    def distances(self) -> npt.NDArray[np.float32]:
        """Distance of each target from its nearest image, without the prior."""
        return distance(self.images, self.targets)

    def starts(self) -> Latents:
        """Return the random latents nearest to each target, `[n, restarts, latent_dim]`."""
        first, count = self.config.seed, max(CANDIDATES, self.config.restarts)
        seeds = [(first + offset) % SEED_LIMIT for offset in range(count)]
        latents = latents_from_seeds(seeds, self.model.latent_dim)
        images = generate(self.model, latents, self.config.batch_size)
        chosen = []
        for number in range(len(self.targets)):
            found = self.evaluate(number, latents, images)
            chosen.append(latents[np.argsort(found, kind="stable")[: self.config.restarts]])
        self.start_distances = self.distances
        return np.stack(chosen)

    def evaluate(self, number: int, latents: Latents, images: Images) -> npt.NDArray[np.float64]:
        """Return the objectives of latents for target `number`; keep the best if it is better."""
        apart = distance(images, self.targets[number : number + 1])
        found = (apart + self.config.prior * penalty(latents)).astype(np.float64)
        best = int(np.argmin(found))
        if found[best] < self.objectives[number]:
            self.objectives[number] = found[best]
            self.latents[number], self.images[number] = latents[best], images[best]
        return found


def evolve(search: Search) -> Iterator[int]:
    """Search by CMA-ES; yield after each generation how many images it took, of all searches.

    Raises:
        MissingExtra: cmaes is not installed.
        UsageError: the latents have too many numbers.
    """
    if search.model.latent_dim > CMA_DIM_LIMIT:
        raise UsageError(
            f"the model's latents have {search.model.latent_dim} numbers, and the search without"
            f" gradients takes at most {CMA_DIM_LIMIT}: give a run or a checkpoint"
        )
    with needs_extra("project", purpose="projecting without gradients"):
        from cmaes import CMA
    starts = search.starts()
    n, restarts, latent_dim = starts.shape
    # The same streams for each target, so that its result depends on no other.
    streams = np.random.SeedSequence(search.config.seed).generate_state(restarts)
    searches = [
        [
            CMA(mean=start.astype(np.float64), sigma=FIRST_SIGMA, seed=int(stream))
            for start, stream in zip(own, streams, strict=True)
        ]
        for own in starts
    ]
    size = searches[0][0].population_size
    for _ in range(max(1, search.config.evaluations // (restarts * size))):
        drawn = [[[each.ask() for _ in range(size)] for each in own] for own in searches]
        latents = np.array(drawn, np.float32)  # (n, restarts, size, latent_dim)
        images = generate(
            search.model, latents.reshape(-1, latent_dim), search.config.batch_size
        ).reshape(n, restarts, size, *search.targets.shape[1:])
        for number, own in enumerate(searches):
            for each, rows, drawn_images in zip(own, latents[number], images[number], strict=True):
                found = search.evaluate(number, rows, drawn_images)
                each.tell(list(zip(rows.astype(np.float64), found.tolist(), strict=True)))
        yield n * restarts * size
