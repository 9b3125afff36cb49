"""What `wgan sample` generates and writes: its options, checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import UsageError
from wgan.latents import SEED_LIMIT, check_seed, parse_seeds
from wgan.runtime.generator import check_batch_size
from wgan.runtime.image_output import ValueRange
from wgan.runtime.latent_sources import (
    InterpolatedLatents,
    LatentSource,
    SeedLatents,
    check_truncation,
    load_latents,
)

DEFAULT_COUNT = 64
DEFAULT_FRAMES = 120
DEFAULT_SHARD_SIZE = 1000


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Which images of which model are generated, and how they are written.

    The images are one of: `count` seeds from `seed` on, listed `seeds`, a file of `latents`, or a
    path that interpolates between seeds.

    Raises:
        UsageError: a value is not allowed, or two options exclude each other.
    """

    out: str = "samples.png"  # its ending chooses the format, see `wgan.runtime.writers.write`

    count: int | None = None  # images; None: the cells of `grid`, or 64
    seed: int | None = None  # the first seed; None: 0
    seeds: str | None = None  # as in "0,1,4-6"
    latents: Path | None = None  # a .npy file, float [n, latent_dim]
    truncation: float = 1.0  # factor of the latents; 1 is off
    interpolate: str | None = None  # seeds on a closed path
    frames: int | None = None  # images on the path; None: the cells of `grid`, or 120
    shard: tuple[int, int] | None = None  # (i, n): every n-th image, from the i-th on; i from 1

    fps: float = 30.0  # frames per second of an animation
    grid: tuple[int, int] | None = None  # rows and columns; None: the squarest
    scale: int = 1  # each pixel is repeated this often in both directions
    images: bool = False  # float images in [-1, 1] instead of pixels, for .npy and .npz
    metadata: bool = False  # seed, model and settings as text chunks in PNGs
    overwrite: bool = False  # do not resume what an interrupted command has written

    ray: bool = False  # on a Ray cluster, into tar shards in a folder
    shard_size: int | None = None  # with `ray`: images in a shard; None: 1000

    model: str | None = None  # ONNX file or "builtin"; None: the latest export
    value_range: ValueRange | None = None  # black and white of a foreign model's float images
    batch_size: int | None = None  # images in a run; None: 16 on the CPU, else 64
    device: str = "auto"
    threads: int | None = None  # CPU threads; None: the usable cores

    def __post_init__(self) -> None:
        self._check_selection()
        self._check_output()
        check_truncation(self.truncation)
        if self.batch_size is not None:
            check_batch_size(self.batch_size)
        if self.ray and self.shard is not None:
            raise UsageError("--ray and --shard both divide the work: give one of them")
        if self.shard_size is not None and not self.ray:
            raise UsageError("--shard-size requires --ray")
        if self.shard_size is not None and not 1 <= self.shard_size <= 10**6:
            raise UsageError(f"--shard-size {self.shard_size} is not allowed: 1 to 1000000")

    def _check_selection(self) -> None:
        # -n and --seed go together: they are one way to choose images.
        counted, name = (self.seed, "--seed") if self.count is None else (self.count, "-n")
        ways = {
            name: counted,
            "--seeds": self.seeds,
            "--latents": self.latents,
            "--interpolate": self.interpolate,
        }
        given = [way for way, value in ways.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{given[0]} and {given[1]} exclude each other")
        if self.frames is not None and self.interpolate is None:
            raise UsageError("--frames requires --interpolate")
        if self.count is not None and not 1 <= self.count <= SEED_LIMIT:
            raise UsageError(f"-n {self.count} is not allowed: 1 to {SEED_LIMIT} images")
        if self.frames is not None and not 1 <= self.frames <= 10**6:
            raise UsageError(f"--frames {self.frames} is not allowed: 1 to 1000000")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise UsageError(
                f"--shard {self.shard[0]}/{self.shard[1]} is not allowed: I/N, from 1/N to N/N"
            )

    def _check_output(self) -> None:
        if not 1 <= self.scale <= 64:
            raise UsageError(f"--scale {self.scale} is not allowed: 1 to 64")
        if not 0 < self.fps <= 1000:
            raise UsageError(f"--fps {self.fps:g} is not allowed: greater than 0, up to 1000")
        if self.images and self.scale != 1:
            raise UsageError("--images does not scale: leave out --scale or --images")

    @property
    def default_count(self) -> int | None:
        """Number of images where the user gives none: the cells of the grid, if there is one."""
        return self.grid and self.grid[0] * self.grid[1]

    def source(self, latent_dim: int) -> LatentSource:
        """Return the latents of all images, for a generator of `latent_dim`.

        Raises:
            UsageError: seeds cannot be parsed or are out of range, or the file of latents does
                not fit.
        """
        if self.latents is not None:
            return load_latents(self.latents, latent_dim, self.truncation)
        if self.interpolate is not None:
            anchors = parse_seeds(self.interpolate)
            frames = self.frames or self.default_count or DEFAULT_FRAMES
            return InterpolatedLatents(self.truncation, anchors, latent_dim, frames)
        return SeedLatents(self.truncation, self._seeds(), latent_dim)

    def _seeds(self) -> Sequence[int]:
        if self.seeds is not None:
            return parse_seeds(self.seeds)
        first = self.seed or 0
        count = self.count or self.default_count or DEFAULT_COUNT
        check_seed(first)
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
