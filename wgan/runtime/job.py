"""What is to be drawn and how: everything that a writer needs, whatever it writes."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan import __version__
from wgan.errors import UsageError
from wgan.images import Encoding, Pixels, encode
from wgan.latents import format_seeds
from wgan.progress import Progress
from wgan.runtime.generator import Generator, check_batch_size
from wgan.runtime.latent_sources import LatentSource
from wgan.runtime.threads import usable_cores
from wgan.stop import check_stop

SHORT_JOB = 256
"""So few images are drawn without a second thread, which would not be worth its start."""

IMAGES_AHEAD = 64
"""So many images are encoded or wait for it while others are drawn."""

IsThere = Callable[[int], bool]
"""Whether the image of a key was written before."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How images are drawn and written.

    Raises:
        UsageError: a value is not allowed.
    """

    batch_size: int | None = None  # images in a run; None: as many as suit the provider
    grid: tuple[int, int] | None = None  # rows and columns; None: the squarest
    scale: int = 1  # each pixel becomes a square of so many
    floats: bool = False  # float images in place of pixels, for arrays
    metadata: bool = False  # text chunks in PNGs
    overwrite: bool = False  # draw again what a folder or a begun archive has
    fps: float = 30.0  # frames per second of an animation

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            check_batch_size(self.batch_size)
        if not 1 <= self.scale <= 64:
            raise UsageError(f"scale {self.scale} is not allowed: 1 to 64")
        if not 0 < self.fps <= 1000:
            raise UsageError(f"{self.fps:g} frames per second are not allowed: up to 1000")
        if self.floats and self.scale != 1:
            raise UsageError("float images are not scaled: leave out --scale or --images")


@dataclass(frozen=True)
class Batch:
    """One batch."""

    positions: Sequence[int]
    images: npt.NDArray[Any]  # Pixels, or Images where `Options.floats` asks for them


@dataclass(frozen=True)
class Job:
    """The images of `source` at `positions`, drawn by `generator`."""

    generator: Generator
    source: LatentSource
    positions: Sequence[int]  # a range, so that a million take no memory
    options: Options

    def batches(self, start: int = 0, is_there: IsThere | None = None) -> Iterator[Batch]:
        """Draw the images one run ahead of who takes the batches, and show the progress.

        The first `start` images are left out, and those whose key `is_there`.
        """
        with Progress(len(self.positions), "sampling", "images", done=start) as progress:
            missing = self._missing(start, is_there, progress)
            for drawn in self._run_ahead(_batched(missing, self.batch_size)):
                check_stop()
                yield drawn
                progress.advance(len(drawn.positions))

    def _missing(self, start: int, is_there: IsThere | None, progress: Progress) -> Iterator[int]:
        for position in self.positions[start:]:
            if is_there is not None and is_there(self.source.key(position)):
                progress.skip()
            else:
                yield position

    def _run_ahead(self, parts: Iterator[list[int]]) -> Iterator[Batch]:
        with_latents = ((part, self.source.latents(part)) for part in parts)
        if len(self.positions) <= SHORT_JOB:
            yield from map(self._draw, with_latents)
            return
        from wgan.parallel import in_parallel  # short jobs start without it

        yield from in_parallel(with_latents, self._draw, workers=1, ahead=1)

    def _draw(self, part: tuple[list[int], npt.NDArray[np.float32]]) -> Batch:
        positions, latents = part
        latents = self.generator.pad(latents, self.batch_size)
        n, scale = len(positions), self.options.scale
        if self.options.floats:
            return Batch(positions, self.generator.images(latents)[:n])
        pixels = self.generator.pixels(latents)[:n]
        if scale != 1:
            pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
        return Batch(positions, pixels)

    def keyed_images(
        self, start: int = 0, is_there: IsThere | None = None
    ) -> Iterator[tuple[int, Pixels]]:
        """Each image with its key, `[height, width, channels]`; arguments as in `batches`."""
        for drawn in self.batches(start, is_there):
            yield from zip(map(self.source.key, drawn.positions), drawn.images, strict=True)

    def encoded(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Each image from `start` on with its key, as PNG, encoded while others are drawn."""
        from wgan.parallel import in_parallel

        return in_parallel(
            self.keyed_images(start),
            lambda image: (image[0], self.encode(image[1], [image[0]])),
            workers=usable_cores(),
            ahead=IMAGES_AHEAD,
        )

    def encode(self, pixels: Pixels, keys: Sequence[int], kind: Encoding = "PNG") -> bytes:
        """Encode an image that shows `keys`, with its metadata where it is asked for."""
        texts = self.texts(keys) if self.options.metadata and kind == "PNG" else None
        return encode(pixels, kind, texts)

    def texts(self, keys: Sequence[int]) -> dict[str, str]:
        """What a PNG says of how it was made, a keyword and a text for each fact."""
        facts = {
            **self.settings(),
            self.source.key_name: format_seeds(keys),
            "version": __version__,
            "provider": self.generator.provider,
        }
        del facts["metadata"]
        return {f"wgan.{name}": str(value) for name, value in facts.items()}

    def settings(self) -> dict[str, Any]:
        """What decides the bytes of a key's image: what a resumed job may not change."""
        return {
            "model_sha256": self.generator.model_sha256,
            **self.source.settings(),
            "scale": self.options.scale,
            "metadata": self.options.metadata,
        }

    @property
    def batch_size(self) -> int:
        """Images in a run."""
        return self.options.batch_size or self.generator.default_batch_size

    @property
    def height(self) -> int:
        """Height of an image as it is written."""
        return self.generator.image_shape[0] * self.options.scale

    @property
    def width(self) -> int:
        """Width of an image as it is written."""
        return self.generator.image_shape[1] * self.options.scale


def parse_shard(text: str) -> tuple[int, int]:
    """Read `"2/8"`: the second of eight shards.

    Raises:
        UsageError: something else is written.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise UsageError(f"shard {text!r} cannot be read: write I/N, from 1/N to N/N")
    return int(index), int(count)


def _batched(positions: Iterable[int], size: int) -> Iterator[list[int]]:
    remaining = iter(positions)
    while part := list(itertools.islice(remaining, size)):
        yield part
