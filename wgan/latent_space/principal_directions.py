"""`wgan directions` as a function: the principal directions of a generator's latent space."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.files import check_keeps_inputs, check_output, whole_file, write_whole
from wgan.images import encode, enlarge, grid, to_pixels, viewable
from wgan.latent_space.config import DEFAULT_DIRECTIONS, DirectionsConfig
from wgan.latent_space.first_layer import Matrix, first_layer
from wgan.latent_space.models import open_model
from wgan.latent_space.search import SHEET_SIDE, generate
from wgan.latents import Latents, latents_from_seeds
from wgan.progress import Progress
from wgan.runtime.latent_sources import MovedLatents, SeedLatents

if TYPE_CHECKING:
    from wgan.latent_space.models import LatentModel

SHOWN_DIRECTIONS = 5
"""Rows of the PNG: the first directions, as many as the served page has sliders for."""

SHOWN_STRENGTHS = 7
"""Columns of the PNG."""

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Directions:
    """What `find_directions` found."""

    directions: npt.NDArray[np.float32]  # [k, latent_dim], each of length 1
    shares: npt.NDArray[np.float64]  # of the variance along each, 0 to 1, descending
    preview: Path  # the PNG


def find_directions(config: DirectionsConfig, *, progress: bool = False) -> Directions:
    """Find the principal directions of a generator; all that `wgan directions` does.

    They are written to `config.out`, and images along the first ones to a PNG of the same name.

    Args:
        config: the options.
        progress: whether to show a progress bar on standard error.

    Raises:
        UsageError: an option is not allowed for this model.
        ModelFileError: the model is missing, damaged, unsafe, or not a generator.
        RunError: the run does not exist, or its checkpoint is missing or damaged.
        DeviceError: the device does not work.
        OutputError: a file cannot be written.
        MissingExtra: a package is not installed.
    """
    preview = config.out.with_suffix(".png")
    for path in (config.out, preview):
        check_output(path)
        check_keeps_inputs(path, config.input_files, "name another output")
    model = open_model(config)
    count = _count(config, model.latent_dim)
    if config.method == "sefa":
        directions, variances = of_layer(first_layer(model))
    else:
        directions, variances = _of_model(model, config, progress)
    found = Directions(
        directions[:count].astype(np.float32),
        (variances / max(variances.sum(), np.finfo(np.float64).tiny))[:count],
        preview,
    )
    with whole_file(config.out) as file:
        np.save(file, found.directions)
    write_whole(preview, encode(_sheet(model, found.directions, config)))
    return found


def _count(config: DirectionsConfig, latent_dim: int) -> int:
    """Return the number of directions. Raises UsageError if there are fewer than asked for."""
    # Around their mean, n images have n - 1 directions.
    largest = latent_dim if config.method == "sefa" else min(latent_dim, config.samples - 1)
    if config.count is None:
        return min(DEFAULT_DIRECTIONS, largest)
    if config.count > largest:
        raise UsageError(f"-n {config.count} is not allowed: there are {largest} directions")
    return config.count


def of_layer(layer: Matrix) -> tuple[Rows, Rows]:
    """Return the directions that change a layer's output most, and the squares of how much.

    They are the eigenvectors of A^T A for the layer's weights A: for a unit vector d, the length of
    A d (Shen & Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs", equation 6).
    """
    variances, vectors = np.linalg.eigh(layer @ layer.T)  # ascending; the vectors are columns
    return _signed(vectors.T[::-1]), np.maximum(variances[::-1], 0)


def of_images(latents: Latents, images: npt.NDArray[np.float32]) -> tuple[Rows, Rows]:
    """Return the latent directions of the images' principal components, and their variances.

    The latents are regressed on the coordinates of the images along each component (Härkönen et al.
    2020, "GANSpace", section 2.2).

    Args:
        latents: `[n, latent_dim]`.
        images: `[n, features]`.
    """
    latents, images = latents - latents.mean(0), images - images.mean(0)
    # The images' inner products have the eigenvectors of their coordinates, and are fewer numbers
    # than the covariance of all pixels.
    variances, coordinates = np.linalg.eigh((images @ images.T).astype(np.float64))
    largest = np.argsort(-variances, kind="stable")[: latents.shape[1]]
    directions = coordinates.T[largest] @ latents  # the coordinates are orthonormal
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    unit = directions / np.maximum(lengths, np.finfo(np.float64).tiny)
    return _signed(unit), np.maximum(variances[largest], 0)


def _signed(vectors: Rows) -> Rows:
    """Choose of each vector and its opposite the one whose largest number is positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], 1)
    signed: Rows = np.where(largest < 0, -vectors, vectors)
    return signed


def _of_model(model: "LatentModel", config: DirectionsConfig, progress: bool) -> tuple[Rows, Rows]:
    latents = latents_from_seeds(range(config.seed, config.seed + config.samples), model.latent_dim)
    with Progress(len(latents), "sampling", "images") if progress else nullcontext() as bar:
        images = generate(model, latents, config.batch_size, bar)
    return of_images(latents, images.reshape(len(images), -1))


def _sheet(
    model: "LatentModel",
    directions: npt.NDArray[np.float32],
    config: DirectionsConfig,
) -> npt.NDArray[np.uint8]:
    """Return images along the first directions: a row for each, the plain image in the middle."""
    base = SeedLatents(1.0, [config.seed], model.latent_dim)
    sources = [
        MovedLatents.along(base, direction, -config.strength, config.strength, SHOWN_STRENGTHS)
        for direction in directions[:SHOWN_DIRECTIONS]
    ]
    latents = np.concatenate([source.latents(range(SHOWN_STRENGTHS)) for source in sources])
    pixels = viewable(to_pixels(generate(model, latents, config.batch_size)))
    return grid(enlarge(pixels, SHEET_SIDE), (len(sources), SHOWN_STRENGTHS))
