"""The parity gate: an export must give the images that the EMA generator gives in PyTorch.

`Reference` has PyTorch's images, `engines.py` every way to run the file. Here each engine is
compared with the reference, batch by batch, and the receipt records all that was tried and how
large the differences were.
"""

import copy
import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wgan.errors import ExportError, ParityError, WganError
from wgan.export.config import LEVEL
from wgan.export.formats import export_errors
from wgan.export.parity.engines import PYTORCH, Engine, Input
from wgan.export.parity.extent import BATCH_SIZES, batch_sizes, seed_count
from wgan.images import Images, Pixels, encode_bands, evenly_spaced, to_pixels
from wgan.latents import Labels, Latents, format_seeds, labels_from_seeds, latents_from_seeds
from wgan.model_file.manifest import Distance, Golden, Receipt
from wgan.runtime.verification import PixelDifference
from wgan.stop import check_stop

logger = logging.getLogger(__name__)

_T = TypeVar("_T", str, int)

GOLDEN_SEEDS = range(4)
"""The seeds whose images are stored in the file, so that it can be verified without PyTorch."""

CHUNK = 64
"""Images that PyTorch generates at a time."""

REPEATED = 1e-3
"""Largest difference of an image from the same in a batch, in PyTorch: rounding is far below."""

ROUNDING_LIMIT = 1e-4
"""Largest tolerance of images because of the reference's own rounding: 1/80 of a step of pixels."""

DIVERGED = "because the training diverged: export an earlier checkpoint, with  --checkpoint STEP"
"""Why the images of a generator that wgan trained may be not finite."""

GOLDEN_BYTES = 5 * 2**20
"""Most bytes of the golden images, which a manifest has room for."""


@dataclass(frozen=True)
class Reference:
    """The images of seeds 0, 1, 2, ... from PyTorch on the CPU.

    float32 is what users of PyTorch get. float64 is the referee: without it, an export could pass
    whose error happens to lie on the same side as PyTorch's own rounding.
    """

    latents: Latents
    images: Images
    pixels: Pixels
    images64: npt.NDArray[np.float64] | None  # of seeds in `batches` only; None: there are none
    name: str = PYTORCH  # what gave the images
    labels: Labels | None = None  # None without classes
    operations: int = 0  # of floating point that an image takes; 0 if it is unknown
    # Of the first seeds, by ONNX Runtime's own optimisations of a foreign file.
    optimized: Images | None = None

    @classmethod
    def draw(
        cls,
        generator: nn.Module,
        latent_dim: int,
        seeds: int = sum(BATCH_SIZES),
        classes: int = 0,
        *,
        float64_optional: bool = False,
        in_levels: bool = False,
        not_finite: str = DIVERGED,
    ) -> Self:
        """Generate the images of `seeds` seeds, or of all that `batches` needs if that is more.

        With `classes`, the generator takes labels: those of `proof_labels`. With `float64_optional`
        a generator that cannot run in float64, or casts to float32 inside, has no referee; the
        receipt says so. `in_levels`: its images are whole numbers, so that rounding tips some by a
        level. `not_finite` says why images may be NaN, and what to do.

        Raises:
            ExportError: the generator fails, an image is not finite, or is another one each time.
        """
        probe = proof_labels(range(2), classes) if classes else None
        with export_errors("run on batches of latents"):
            with FlopCounterMode(display=False) as counted:
                two = _generate(generator, latents_from_seeds(range(2), latent_dim), probe)
            values, operations = two.size // 2, counted.get_total_flops() // 2
            drawn = range(seed_count(values, seeds, operations))
            batches = sum(batch_sizes(values, operations))
            latents = latents_from_seeds(drawn, latent_dim)
            labels = proof_labels(drawn, classes, batches) if classes else None
            images = _generate(generator, latents, labels)
        if not np.isfinite(images).all():
            seed = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
            raise ExportError(
                f"the generator's images are not finite (NaN or infinite), first that of seed"
                f" {seed}, {not_finite}"
            )
        single = _generate(generator, latents[:1], None if labels is None else labels[:1])
        if not np.allclose(single, images[:1], atol=LEVEL if in_levels else REPEATED):
            raise ExportError(
                "the generator's image of seed 0 differs from run to run or with the other images"
                " of its batch, so that an image would depend on more than its seed: export a"
                " generator that draws no random numbers itself"
            )
        exact = sum(batch_sizes(values, 2 * operations))  # float64 takes twice as long
        try:
            with export_errors("run in float64"):
                images64: npt.NDArray[Any] | None = _generate(
                    # A copy: `double` converts a module in place.
                    copy.deepcopy(generator).double(),
                    latents[:exact].astype(np.float64),
                    None if labels is None else labels[:exact],
                )
        except ExportError:
            if not float64_optional:
                raise
            images64 = None
        if float64_optional and images64 is not None and images64.dtype != np.float64:
            images64 = None
        pixels = to_pixels(images)
        return cls(latents, images, pixels, images64, labels=labels, operations=operations)

    def inputs(self, rows: slice) -> tuple[Input, ...]:
        """What an engine runs on for the seeds of `rows`."""
        latents = self.latents[rows]
        return (latents,) if self.labels is None else (latents, self.labels[rows])

    @property
    def largest(self) -> float:
        """The largest value of the images, at least 1: those of most generators end in a tanh."""
        return max(1.0, float(np.abs(self.images).max()))

    def widened(self, allowed: Distance) -> Distance:
        """Allow what two computations in float32 may differ by: twice the reference's own rounding.

        That is PyTorch's difference from float64, or what ONNX Runtime's own optimisations change
        in a foreign file. Long training makes sharp edges, whose last activations round more than
        most networks do.
        """
        second = self.optimized if self.images64 is None else self.images64
        if second is None:
            return allowed
        rounding = float(np.abs(self.images[: len(second)] - second).max())
        images = min(round_up(2 * rounding / self.largest), ROUNDING_LIMIT)
        return dataclasses.replace(allowed, images=max(allowed.images, images))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Batch sizes of the proof."""
        return batch_sizes(math.prod(self.images.shape[1:]), self.operations)

    def batches(self) -> Iterator[slice]:
        """One batch of each size, no seed twice: seed 0, seeds 1 and 2, seeds 3 to 5, ..."""
        ends = [0, *itertools.accumulate(self.batch_sizes)]
        return itertools.starmap(slice, itertools.pairwise(ends))

    def remaining(self) -> Iterator[slice]:
        """The seeds that are not in `batches`, 64 at a time."""
        starts = range(sum(self.batch_sizes), len(self.latents), CHUNK)
        return (slice(start, min(start + CHUNK, len(self.latents))) for start in starts)


def proof_labels(seeds: range, classes: int, room: int = sum(BATCH_SIZES)) -> Labels:
    """Labels of the seeds of a proof, from 0 on, whose batches have `room` for as many classes.

    Up to that many classes, each image has the label that its seed has for users, and every class
    is drawn. Of more classes the golden images have the label of their seed; the others are spread
    over all.
    """
    if classes <= room:
        return labels_from_seeds(seeds, classes)
    labels: Labels = evenly_spaced(classes, room)[np.asarray(seeds) % room]
    golden = GOLDEN_SEEDS[: len(labels)]
    labels[: len(golden)] = labels_from_seeds(golden, classes)
    return labels


def _generate(
    generator: nn.Module, latents: npt.NDArray[Any], labels: Labels | None
) -> npt.NDArray[Any]:
    """Generate images in the precision that the generator and the latents have."""

    def draw(*inputs: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
        given = (torch.from_numpy(each) for each in inputs if each is not None)
        images: npt.NDArray[Any] = generator(*given).numpy()
        return images

    with torch.inference_mode():
        return in_chunks(draw, latents, labels)


def in_chunks(
    draw: Callable[[npt.NDArray[Any], Labels | None], npt.NDArray[Any]],
    latents: npt.NDArray[Any],
    labels: Labels | None,
) -> npt.NDArray[Any]:
    """Draw reference images, `CHUNK` at a time."""
    parts = []
    for start in range(0, len(latents), CHUNK):
        check_stop()
        logger.info("generating reference images: %d of %d", start, len(latents))
        rows = slice(start, start + CHUNK)
        parts.append(draw(latents[rows], None if labels is None else labels[rows]))
    return np.concatenate(parts)


def prove(
    engines: Iterable[Engine], reference: Reference, allowed: Distance, *, loosened: bool
) -> Receipt:
    """Compare each engine with `reference` at every batch size, the first one at every seed.

    Each engine is opened when the one before it is done. `loosened`, whether `allowed` exceeds
    wgan's own tolerance, goes into the receipt.

    Raises:
        ParityError: an engine fails, gives another shape or type, or differs by more than
            `allowed`.
    """
    comparisons: list[EngineComparison] = []
    distances: list[Distance] = []
    for engine in engines:
        logger.info("comparing with %s: %s", reference.name, engine)
        comparison = EngineComparison(engine, reference, allowed)
        batches = list(reference.batches())
        if not comparisons:  # engines of one file hardly differ: more seeds once are enough
            batches += reference.remaining()
        for rows in batches:
            comparison.compare(rows)
        comparisons.append(comparison)
        distances.append(comparison.distance())
    tried = [comparison.engine for comparison in comparisons]
    return Receipt(
        seeds=format_seeds(range(len(reference.latents))),
        batch_sizes=reference.batch_sizes,
        providers=_unique(engine.provider for engine in tried),
        optimizations=_unique(engine.optimization for engine in tried),
        threads=_unique(engine.threads for engine in tried),
        seen=_largest(distances),
        allowed=allowed,
        loosened=loosened,
        float64_images=None
        if reference.images64 is None
        else round_up(max(comparison.float64_images for comparison in comparisons)),
        reference=reference.name,
        goldens=tuple(_goldens(reference, comparisons)),
    )


class EngineComparison:
    """The differences between an engine's images and the reference, over all batches.

    The differences of the golden images are also kept one by one.
    """

    def __init__(self, engine: Engine, reference: Reference, allowed: Distance) -> None:
        self.engine, self.reference, self.allowed = engine, reference, allowed
        self.images = self.float64_images = 0.0  # the largest differences so far
        self.goldens = {seed: PixelDifference() for seed in GOLDEN_SEEDS}
        self._pixels = PixelDifference()

    def compare(self, rows: slice) -> None:
        """Run the seeds of `rows` as one batch and compare each value. Raises ParityError."""
        check_stop()
        reference, allowed = self.reference, self.allowed
        # Without a last tanh values can be large, and rounding grows with them.
        allowed_images = allowed.images * reference.largest
        try:
            images, pixels = self.engine.run(*reference.inputs(rows))
        except WganError as exc:
            raise ParityError(f"the export fails on {self._batch(rows)}: {exc}") from exc
        largest = self._compare("images", images, reference.images, allowed_images, rows)
        self.images = max(self.images, largest)
        if reference.images64 is not None and rows.stop <= len(reference.images64):
            largest = self._compare("images", images, reference.images64, allowed_images, rows)
            self.float64_images = max(self.float64_images, largest)
        self._compare("pixels", pixels, reference.pixels, allowed.pixels, rows)
        self._pixels.add(pixels, reference.pixels[rows])
        for seed in self.goldens.keys() & set(range(rows.start, rows.stop)):
            self.goldens[seed].add(pixels[seed - rows.start], reference.pixels[seed])

    def distance(self) -> Distance:
        """Return the distance over all batches. Raises ParityError for the mean and the PSNR."""
        distance = Distance(
            images=round_up(self.images),
            pixels=self._pixels.largest,
            mean_pixels=round_up(self._pixels.mean),
            psnr=self._pixels.psnr,
        )
        if distance.mean_pixels > self.allowed.mean_pixels:
            raise ParityError(
                f"the export does not match {self.reference.name}: the mean difference of pixels is"
                f" {distance.mean_pixels:.3g} of 255; at most {self.allowed.mean_pixels:g} is"
                f" allowed (--tolerance-mean-pixels), on {self.engine}"
            )
        if distance.psnr < self.allowed.psnr:
            raise ParityError(
                f"the export does not match {self.reference.name}: the PSNR of pixels is"
                f" {distance.psnr:.1f} dB; at least {self.allowed.psnr:g} is needed"
                f" (--tolerance-psnr), on {self.engine}"
            )
        return distance

    def _compare(
        self,
        name: str,
        actual: npt.NDArray[Any],
        reference: npt.NDArray[Any],
        allowed: float,
        rows: slice,
    ) -> float:
        """Return the largest absolute difference. Raises ParityError if it exceeds `allowed`."""
        expected = reference[rows]
        self._check_type(name, actual, expected.shape, rows)
        # In float64: uint8 would wrap around, and float32 round the difference itself.
        difference = np.abs(actual.astype(np.float64) - expected)
        index = np.unravel_index(np.argmax(difference), difference.shape)  # argmax finds a NaN
        largest = float(difference[index])
        if not largest <= allowed:  # written so that a NaN fails
            position = ", ".join(map(str, index[1:]))
            float64 = " in float64" if expected.dtype == np.float64 else ""
            raise ParityError(
                f"the export does not match {self.reference.name}{float64}: {name} of"
                f" {self._image(rows.start + int(index[0]))} at [{position}] are"
                f" {actual[index]:g}, not {expected[index]:g}, on {self._batch(rows)}; they differ"
                f" by {largest:.3g}, and at most {allowed:g} is allowed (--tolerance-{name})"
            )
        return largest

    def _check_type(
        self, name: str, actual: npt.NDArray[Any], shape: tuple[int, ...], rows: slice
    ) -> None:
        dtype = np.dtype(np.float32 if name == "images" else np.uint8)
        if actual.shape != shape or actual.dtype != dtype:
            raise ParityError(
                f"the export does not match {self.reference.name}: its {name} are"
                f" {actual.dtype}{list(actual.shape)}, not {dtype}{list(shape)}, on"
                f" {self._batch(rows)}"
            )

    def _image(self, seed: int) -> str:
        labels = self.reference.labels
        return f"seed {seed}" if labels is None else f"seed {seed}, label {labels[seed]},"

    def _batch(self, rows: slice) -> str:
        size = rows.stop - rows.start
        return f"a batch of {size} (seeds {rows.start}-{rows.stop - 1}), {self.engine}"


def _goldens(reference: Reference, comparisons: list["EngineComparison"]) -> Iterator[Golden]:
    """Yield the golden images that fit into GOLDEN_BYTES.

    Raises:
        ExportError: not even the first one fits.
    """
    room = GOLDEN_BYTES
    for seed in GOLDEN_SEEDS[: len(reference.latents)]:
        psnr = min(comparison.goldens[seed].psnr for comparison in comparisons)
        golden = Golden(seed=seed, png=encode_bands(reference.pixels[seed]), psnr=psnr)
        room -= len(golden.png)
        if room < 0 and seed == GOLDEN_SEEDS[0]:
            height, width, channels = reference.pixels.shape[1:]
            raise ExportError(
                f"images of {width}x{height} pixels and {channels} channels are too large to"
                f" export: one takes {len(golden.png)} bytes as a PNG, at most {GOLDEN_BYTES} are"
                " possible"
            )
        if room < 0:
            return
        yield golden


def _largest(distances: list[Distance]) -> Distance:
    return Distance(
        images=max(distance.images for distance in distances),
        pixels=max(distance.pixels for distance in distances),
        mean_pixels=max(distance.mean_pixels for distance in distances),
        psnr=min(distance.psnr for distance in distances),
    )


def _unique(values: Iterable[_T | None]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))


def round_up(difference: float) -> float:
    """Round up to two digits.

    Two digits are enough for a receipt, and machines whose sums end in other bits agree on them.
    """
    if difference == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(difference)) - 1)
    return float(f"{math.ceil(difference / unit) * unit:.1e}")
