"""Options of `wgan sample` and `wgan bench`, checked before any work."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan.errors import UsageError
from wgan.host import MAX_THREADS
from wgan.model_file.foreign import ForeignOptions
from wgan.options import advanced, check_combination, option
from wgan.runtime.engine import COMPUTE_NAMES, DEVICE_NAMES

# What needs numpy is imported where it is used: `wgan --help` shows these options without it.
if TYPE_CHECKING:
    from wgan.runtime.latent_sources import LatentSource

DEFAULT_COUNT = 64
DEFAULT_FRAMES = 120
DEFAULT_SHARD_SIZE = 1000
DEFAULT_STRIPS = 8
DEFAULT_STRENGTHS = 7
DEFAULT_STRENGTH = (-3.0, 3.0)

STRENGTH_LIMIT = 100.0
"""Largest strength of a direction, either way; latents of the training lie within 4 or so."""

THREADS: Mapping[str, Any] = {
    "low": 1,
    "high": MAX_THREADS,
    "metavar": "N",
    "shown_default": "the usable cores",
}
"""What the options for a number of CPU threads have in common."""

SEED: Mapping[str, Any] = {"low": 0, "high": 2**32 - 1, "metavar": "SEED"}
"""What the options for a seed have in common."""

COMPUTE: Mapping[str, Any] = {
    "help": "Arithmetic of --device openvino; bf16 is faster where the processor has it.",
    "choices": COMPUTE_NAMES,
}
"""What the options for the precision of a device have in common."""

TRUNCATION_LIMIT = 100.0
"""Far beyond the latents of the training, and far from float32 overflow."""

TRUNCATION_HELP = (
    "Scales the latents: below 1 closer to the mean image, above 1 further from it, 1 is off."
)

USUAL_TRUNCATION = 2.0
"""Larger factors are a warning: latents of the training are never that long."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SampleConfig(ForeignOptions):
    """Which images of which model are generated, and how they are written.

    The images are one of: `count` seeds from `seed` on, listed `seeds`, a file of `latents`, or a
    path that interpolates between seeds. With `direction` each of them, but for a path's, becomes
    a row of images along that direction. A model with classes takes labels; without any, seed k has
    the label k % classes.

    Raises:
        UsageError: a value is not allowed, or two options exclude each other.
    """

    # `wgan.runtime.writers.write` tells the format by the ending.
    out: str = option("samples.png", "The file or folder to write.", argument=True)
    count: int | None = option(
        None,
        "Number of images.",
        low=1,
        high=2**32,
        flags=("-n",),
        metavar="IMAGES",
        shown_default=f"the cells of --grid, or {DEFAULT_COUNT}; {DEFAULT_STRIPS} with --direction"
        " or --by-class",
        group="Images",
        excludes=("seeds", "latents", "interpolate"),
    )
    seed: int | None = option(
        None,
        "The first of the -n seeds.",
        **SEED,
        shown_default="0",
        excludes=("seeds", "latents", "interpolate"),
    )
    seeds: str | None = option(
        None,
        "Which seeds, as in 0,1,4-6.",
        metavar="SEEDS",
        excludes=("count", "seed", "latents", "interpolate"),
    )
    latents: Path | None = advanced(
        None,
        "A .npy file of latents, float [n, latent_dim], in place of seeds.",
        metavar="FILE",
        excludes=("count", "seed", "seeds", "interpolate", "by_class"),
    )
    label: str | None = option(
        None,
        "Class of all images, by name or index, for a model with classes.",
        metavar="CLASS",
        shown_default="seed modulo classes",
        excludes=("labels", "by_class"),
    )
    labels: tuple[str, ...] | None = option(
        None,
        "Class of each image, or of each seed of a path between classes, as in cat,0,3.",
        separator=",",
        metavar="CLASS,...",
        pattern=r".+",
        form="names or indices",
        example="cat,0,3",
        excludes=("label",),
    )
    by_class: bool = option(
        False,
        "Every seed in each class, or in those of --labels: a grid has a row for each.",
        excludes=("latents", "interpolate", "label", "direction"),
    )
    truncation: float = option(
        1.0,
        TRUNCATION_HELP,
        low=0,
        high=TRUNCATION_LIMIT,
        metavar="FACTOR",
    )
    interpolate: str | None = option(
        None,
        "A closed path through these seeds.",
        metavar="SEEDS",
        excludes=("count", "seed", "seeds", "latents", "by_class", "direction"),
    )
    frames: int | None = option(
        None,
        "Images on the whole path, or along a direction.",
        low=1,
        high=10**6,
        unit="images",
        shown_default=f"the cells of --grid, or {DEFAULT_FRAMES}; {DEFAULT_STRENGTHS} along a"
        " direction",
        needs=("interpolate", "direction"),
    )
    direction: str | None = option(
        None,
        "Move each image along a direction of a .npy file: see wgan directions.",
        metavar="FILE:INDEX",
        excludes=("interpolate", "by_class"),
    )
    strength: tuple[float, float] | None = option(
        None,
        "How far to move, in standard deviations of a latent.",
        low=-STRENGTH_LIMIT,
        high=STRENGTH_LIMIT,
        separator="..",
        metavar="LOW..HIGH",
        example="-3..3",
        shown_default="-3..3",
        needs=("direction",),
    )
    shard: tuple[int, int] | None = advanced(
        None,
        "Every N-th image, from the I-th on: 1/N to N/N.",
        low=1,
        separator="/",
        metavar="I/N",
        example="1/4",
        excludes=("ray",),
    )
    fps: float = option(
        30.0, "Frames per second of an animation.", low=0.01, high=1000, metavar="N", group="Output"
    )
    grid: tuple[int, int] | None = option(
        None,
        "Rows and columns of a grid.",
        low=1,
        separator="x",
        metavar="ROWSxCOLUMNS",
        example="8x8",
        shown_default="the squarest",
    )
    scale: int = option(
        1, "Repeat each pixel N times.", low=1, high=64, metavar="N", excludes=("images",)
    )
    images: bool = advanced(
        False, "Float images, [-1, 1], into a .npy or .npz.", excludes=("scale",)
    )
    metadata: bool = advanced(False, "Write seed, model and settings into PNGs.")
    overwrite: bool = option(
        False, "Start again instead of resuming: the images of other settings are removed."
    )
    ray: bool = advanced(
        False, "Run on a Ray cluster, into tar shards in a folder.", excludes=("shard",)
    )
    shard_size: int | None = advanced(
        None,
        "With --ray: images in a shard.",
        low=1,
        high=10**6,
        unit="images",
        shown_default=str(DEFAULT_SHARD_SIZE),
        needs=("ray",),
    )
    model: str | None = option(
        None,
        "An ONNX file, a run's or a published folder, hf://USER/NAME, or builtin.",
        metavar="FILE",
        shown_default="the latest export",
        group="Model",
    )
    allow_random: bool = advanced(
        False, "Take a foreign model that draws random numbers itself, with a warning."
    )
    batch_size: int | None = advanced(
        None,
        "Images in a run.",
        low=1,
        unit="images",
        shown_default="16 on the CPU, else 64",
    )
    device: str = option("auto", "What runs the model.", choices=DEVICE_NAMES)
    compute: str = advanced("fp32", **COMPUTE)
    threads: int | None = advanced(None, "CPU threads.", **THREADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_combination(self)
        if self.truncation > USUAL_TRUNCATION:
            logger.warning(
                "--truncation %g scales the latents beyond those of the training, so expect"
                " distorted images: below 1 is closer to the mean image, 1 is off",
                self.truncation,
            )
        if self.direction is not None and self._strengths < 2:
            raise UsageError("--direction needs at least 2 images along it: raise --frames")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(
                f"--shard {self.shard[0]}/{self.shard[1]} is not allowed: I/N, from 1/N to N/N"
            )

    @property
    def default_count(self) -> int | None:
        """Number of images where the user gives none: the cells of the grid, if there is one."""
        if self.direction is not None:
            return self.grid[0] if self.grid else DEFAULT_STRIPS
        if self.by_class:
            return self.grid[1] if self.grid else DEFAULT_STRIPS
        return self.grid and self.grid[0] * self.grid[1]

    @property
    def _strengths(self) -> int:
        """Number of images along a direction."""
        return self.frames or (self.grid[1] if self.grid else DEFAULT_STRENGTHS)

    @property
    def input_files(self) -> list[tuple[str, Path]]:
        """The files that are read beside the model, for `wgan.files.check_keeps_inputs`."""
        from wgan.runtime.latent_sources import split_direction

        found = super().input_files
        if self.latents is not None:
            found.append(("the latents", self.latents))
        if self.direction is not None:
            found.append(("the directions", split_direction(self.direction)[0]))
        return found

    def source(
        self, latent_dim: int, classes: tuple[str, ...] = (), latent_shape: tuple[int, ...] = ()
    ) -> "LatentSource":
        """Return the latents and labels of all images, for a generator of `latent_dim`.

        A file of latents may have the axes `latent_shape` for each image instead.

        Raises:
            UsageError: seeds cannot be parsed or are out of range, the file of latents or of
                directions does not fit, or there is no such class.
        """
        from wgan.runtime.latent_sources import MovedLatents, load_direction

        source = self._undirected(latent_dim, classes, latent_shape)
        if self.direction is None:
            return source
        direction = load_direction(self.direction, latent_dim)
        low, high = self.strength or DEFAULT_STRENGTH
        return MovedLatents.along(source, direction, low, high, self._strengths)

    def _undirected(
        self, latent_dim: int, classes: tuple[str, ...], latent_shape: tuple[int, ...]
    ) -> "LatentSource":
        """The latents before a direction moves them."""
        from wgan.latents import parse_seeds
        from wgan.runtime.labels import make_labelling
        from wgan.runtime.latent_sources import InterpolatedLatents, SeedLatents, load_latents

        labels = self.label if self.labels is None else self.labels
        if self.interpolate is not None:
            anchors = parse_seeds(self.interpolate)
            frames = self.frames or self.default_count or DEFAULT_FRAMES
            labelling = make_labelling(classes, labels, len(anchors), "seeds")
            return InterpolatedLatents(
                self.truncation, anchors, latent_dim, frames, labelling=labelling
            )
        if self.by_class:
            labelling = make_labelling(classes, labels, len(labels or ()))
            if labelling is None:
                raise UsageError("this model has no classes: leave out --by-class")
            return SeedLatents.by_class(self.truncation, self._seeds(), latent_dim, labelling)
        source = (
            SeedLatents(self.truncation, self._seeds(), latent_dim)
            if self.latents is None
            else load_latents(self.latents, latent_dim, self.truncation, latent_shape)
        )
        return replace(source, labelling=make_labelling(classes, labels, len(source)))

    def _seeds(self) -> Sequence[int]:
        from wgan.latents import check_seed, parse_seeds

        if self.seeds is not None:
            return parse_seeds(self.seeds)
        first = self.seed or 0
        several = len(self.labels or ()) > 1 and not self.by_class
        labelled = len(self.labels or ()) if several else None
        count = self.count or labelled or self.default_count or DEFAULT_COUNT
        check_seed(first + count - 1)
        return range(first, first + count)

    def positions(self, total: int) -> range:
        """Return the positions, of `total` images, that this shard generates.

        Raises:
            UsageError: the shard is empty.
        """
        first, step = self.shard or (1, 1)
        positions = range(total)[first - 1 :: step]
        if not positions:
            raise UsageError(f"--shard {first}/{step} is empty: there are {total} images")
        return positions


@dataclass(frozen=True, kw_only=True)
class FileConfig(ForeignOptions):
    """The exported file that a command looks at, as for `wgan.runtime.model_source.find_model`."""

    file: Path | None = option(
        None,
        "An exported file, a run's or a published folder, hf://USER/NAME, or builtin.",
        argument=True,
        metavar="[FILE|RUN|builtin]",
        shown_default="the latest export",
    )


@dataclass(frozen=True, kw_only=True)
class VerifyConfig(FileConfig):
    """What `wgan verify` checks."""

    device: str = option("auto", "What runs the model; auto: all that works.", choices=DEVICE_NAMES)
    compute: str = advanced("fp32", **COMPUTE)


@dataclass(frozen=True, kw_only=True)
class InfoConfig(FileConfig):
    """What `wgan info` describes."""

    device: str | None = option(
        None,
        "Open an ONNX file too, and say what runs it.",
        choices=DEVICE_NAMES,
        shown_default="only describe",
    )


@dataclass(frozen=True, kw_only=True)
class BenchConfig(FileConfig):
    """What `wgan bench` measures.

    Raises:
        UsageError: a value is not allowed.
    """

    batch_sizes: tuple[int, ...] = option(
        (1, 8, 64), "Images in a run.", low=1, separator=",", metavar="N,..."
    )
    device: str = option("auto", "What runs the model.", choices=DEVICE_NAMES)
    compute: str = advanced("fp32", **COMPUTE)
    threads: int | None = option(None, "CPU threads.", **THREADS)
    seconds: float = option(2.0, "Time for each engine and batch size.", above=0, metavar="SECONDS")

    def __post_init__(self) -> None:
        """Check each field. Raises UsageError."""
        super().__post_init__()
        if not self.batch_sizes:
            raise UsageError("--batch-sizes is empty: write numbers from 1, as in 1,8,64")
