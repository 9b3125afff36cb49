"""`wgan project` as a function: from images to the latents that come nearest to them."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wgan.errors import DataError, ImageError, ModelFileError, UsageError
from wgan.files import (
    check_keeps_inputs,
    check_output,
    open_regular,
    whole_file,
    write_whole,
)
from wgan.images import Pixels, encode, enlarge, grid, to_images, to_pixels, viewable
from wgan.latent_space.config import ProjectConfig
from wgan.latent_space.distance import to_levels
from wgan.latent_space.models import open_model, training_settings
from wgan.latent_space.search import SHEET_SIDE, Search, evolve
from wgan.latents import Latents
from wgan.progress import Progress
from wgan.runtime import Generator
from wgan.stop import Stopped
from wgan.training.data.decoding import decode, quiet_pillow
from wgan.training.data.sources import image_size
from wgan.training.data.transform import Transform
from wgan.training.preparation import Preparation

if TYPE_CHECKING:
    from wgan.latent_space.models import LatentModel

SHEET_COLUMNS = 16
"""Images in a row of the sheet."""


@dataclass(frozen=True)
class Target:
    """An image to find."""

    path: Path
    size: tuple[int, int]  # width and height of the file's image
    pixels: Pixels  # [height, width, channels], as the model draws


@dataclass(frozen=True)
class Projection:
    """What `project` found."""

    targets: tuple[Target, ...]
    latents: Latents  # [n, latent_dim]
    pixels: Pixels  # their images
    distances: tuple[float, ...]  # root of the mean squared error, in levels of 0 to 255
    start_distances: tuple[float, ...]  # the same of the nearest random images
    preview: Path  # the PNG

    @property
    def resized(self) -> list[Target]:
        """The targets whose files hold images of another size."""
        return [each for each in self.targets if each.size != each.pixels.shape[1::-1]]

    def sheet(self) -> Pixels:
        """Return the targets, and below each its projection: `[h, w, c]`, in what a PNG shows."""
        targets = viewable(np.stack([target.pixels for target in self.targets]))
        targets, found = enlarge(targets, SHEET_SIDE), enlarge(viewable(self.pixels), SHEET_SIDE)
        columns = min(SHEET_COLUMNS, len(targets))
        rows = []
        for start in range(0, len(targets), columns):
            for images in (targets, found):
                rows.append(grid(images[start : start + columns], (1, columns)))
        return np.concatenate(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the distances for JSON."""
        rows = zip(self.targets, self.distances, self.start_distances, strict=True)
        return {
            "images": [
                {"image": str(target.path), "distance": found, "nearest_random": start}
                for target, found, start in rows
            ]
        }


def project(config: ProjectConfig, *, progress: bool = False) -> Projection:
    """Find the latents whose images come nearest to given images; all that `wgan project` does.

    The latents are written to `config.output`, the images to a PNG of the same name. SIGINT and
    SIGTERM, where a handler is installed, write what was found so far before Stopped is raised.

    Args:
        config: the options.
        progress: whether to show a progress bar on standard error.

    Raises:
        UsageError: an option is not allowed for this model.
        DataError: an image is missing or damaged.
        ModelFileError: the model is missing, damaged, unsafe, or not a generator.
        RunError: the run does not exist, or its checkpoint is missing or damaged.
        DeviceError: the device does not work.
        OutputError: a file cannot be written.
        MissingExtra: a package is not installed.
    """
    preview = config.output.with_suffix(".png")
    inputs = [*(("the image", image) for image in config.images), *config.input_files]
    for path in (config.output, preview):
        check_output(path)
        check_keeps_inputs(path, inputs, "give another --output")
    model = open_model(config, config.method)
    targets = read_targets(config.images, make_transform(model))
    search = Search(model, to_images(np.stack([target.pixels for target in targets])), config)
    stopped = None
    try:
        _run(search, progress)
    except Stopped as exc:
        if np.isinf(search.objectives).any():
            raise Stopped(exc.number, "stopped; nothing was written") from None
        stopped = exc
    found = Projection(
        tuple(targets),
        search.latents,
        to_pixels(search.images),
        tuple(map(to_levels, search.distances)),
        tuple(map(to_levels, search.start_distances)),
        preview,
    )
    with whole_file(config.output) as file:
        np.save(file, found.latents)
    write_whole(preview, encode(found.sheet()))
    if stopped is not None:
        message = f"stopped; the nearest latents so far are in {config.output}"
        raise Stopped(stopped.number, message)
    return found


def _run(search: Search, progress: bool) -> None:
    """Search by gradients where the model has them, unless the user chose evolution."""
    config = search.config
    if isinstance(search.model, Generator) or config.method == "evolution":
        steps, total, unit = evolve(search), config.evaluations * len(search.targets), "images"
    else:
        from wgan.latent_space.descent import descend  # imports PyTorch

        steps, total, unit = descend(search), config.steps, "steps"
    with Progress(total, "projecting", unit) if progress else nullcontext() as bar:
        for done in steps:
            if bar is not None:
                bar.advance(done, f"distance {to_levels(search.distances.mean()):.1f} of 255")


def make_transform(model: "LatentModel") -> Transform:
    """Return how images are prepared for a model: as those of its training were.

    Raises:
        ModelFileError: its manifest has options of training that `wgan train` refuses.
    """
    try:
        preparation = Preparation.from_settings(training_settings(model))
    except UsageError as exc:
        raise ModelFileError(
            f"the model cannot be used: of the training, its manifest says {exc}"
        ) from exc
    return preparation.transform(model.image_shape)


def read_targets(paths: Sequence[Path], transform: Transform) -> list[Target]:
    """Read images and prepare them. Raises DataError with the name of the first bad one."""
    targets = []
    for path in paths:
        try:
            with quiet_pillow(), open_regular(path) as file:
                image = decode(file)
                targets.append(Target(path, image_size(image), transform(image)))
        except FileNotFoundError as exc:
            raise DataError(f"there is no image {path}") from exc
        except ImageError as exc:
            raise DataError(f"the image {path} cannot be used: {exc}") from exc
        except (OSError, ValueError) as exc:
            raise DataError(f"the image {path} cannot be read: {exc}") from exc
    return targets
