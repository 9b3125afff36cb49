"""The gate: an export must draw what the EMA generator draws in PyTorch, or it is refused.

An engine is anything that runs the export: ONNX Runtime in each way that a user can set it up,
PyTorch for its own formats, a planted fault in a test. All pass through the same gate.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from wgan.errors import DeviceError, ParityError, WganError
from wgan.export.pt2_format import load_pt2
from wgan.export.reference import BATCH_SIZES, Latents, Reference
from wgan.export.torchscript_format import load_torchscript
from wgan.extras import needs_extra
from wgan.images import Images, Pixels, encode, to_pixels
from wgan.latents import format_seeds
from wgan.manifest import PSNR_LIMIT, Distance, Golden, Receipt

Run = Callable[[Latents], tuple[Images, Pixels]]
"""Latents -> images and pixels of the same batch."""

Value = TypeVar("Value", str, int)

GOLDENS = range(4)
"""The seeds whose pictures travel in the file."""

PYTORCH = "PyTorch"
"""Stands for a provider where PyTorch runs its own format."""


@dataclass(frozen=True)
class Engine:
    """One way to run an export."""

    provider: str
    run: Run
    optimization: str | None = None  # ONNX Runtime's: "all" or "none"
    threads: int | None = None

    def __str__(self) -> str:
        if self.threads is None:
            return self.provider
        return f"{self.provider}, optimizations {self.optimization}, threads {self.threads}"


def prove(
    engines: Iterable[Engine], reference: Reference, allowed: Distance, *, loosened: bool
) -> Receipt:
    """Hold each engine against `reference` at every batch size, the first at every seed.

    Args:
        engines: opened one after the other, as they are needed.
        reference: the truth.
        allowed: the largest distance that passes.
        loosened: whether `allowed` is more than usual, for the record.

    Raises:
        ParityError: one fails, gives another shape or type, or is further away than `allowed`.
    """
    tried: list[Engine] = []
    distances: list[Distance] = []
    float64_images = 0.0
    for engine in engines:
        more = reference.remaining() if not tried else iter(())
        trial = _Trial(engine, reference, allowed)
        for rows in (*reference.batches(), *more):
            trial.run(rows)
        distances.append(trial.distance())
        float64_images = max(float64_images, trial.float64_images)
        tried.append(engine)
    return Receipt(
        seeds=format_seeds(range(len(reference.latents))),
        batch_sizes=BATCH_SIZES,
        providers=_unique(engine.provider for engine in tried),
        optimizations=_unique(engine.optimization for engine in tried),
        threads=_unique(engine.threads for engine in tried),
        seen=_furthest(distances),
        allowed=allowed,
        loosened=loosened,
        float64_images=_rounded_up(float64_images),
        goldens=tuple(Golden(seed=seed, png=encode(reference.pixels[seed])) for seed in GOLDENS),
    )


def onnx_engines(data: bytes) -> Iterator[Engine]:
    """Open an ONNX file's bytes in every way that ONNX Runtime has here.

    Each provider that works, its optimisations all on and all off, one thread and as many as there
    are cores.

    Raises:
        ParityError: ONNX Runtime refuses the model.
    """
    with needs_extra("cpu", purpose="checking an ONNX export"):
        from wgan.runtime.generator import Generator
        from wgan.runtime.providers import DEVICES
        from wgan.runtime.session import import_onnxruntime
        from wgan.runtime.threads import usable_cores
    available = import_onnxruntime().get_available_providers()
    for device in (name for name, known in DEVICES.items() if known.provider in available):
        for optimization in ("all", "none"):
            for threads in sorted({1, usable_cores()}, reverse=True):
                try:
                    generator = Generator(data, device, threads, optimization=optimization)
                except DeviceError:
                    continue  # installed, with no such hardware: the receipt does not list it
                except WganError as exc:
                    raise ParityError(f"ONNX Runtime refuses the export: {exc}") from exc
                if generator.fixed_batch is not None:
                    raise ParityError(
                        f"the export takes a batch of {generator.fixed_batch} alone, not any"
                    )
                with generator:
                    yield Engine(generator.provider, generator.run, optimization, threads)


def torchscript_engines(data: bytes) -> Iterator[Engine]:
    """Open an archive's bytes as a user of `torch.jit.load` would."""
    yield _pytorch_engine(load_torchscript(data))


def pt2_engines(data: bytes) -> Iterator[Engine]:
    """Open an archive's bytes as a user of `torch.export.load` would."""
    yield _pytorch_engine(load_pt2(data))


def _pytorch_engine(module: Callable[[torch.Tensor], torch.Tensor]) -> Engine:
    def run(drawn: Latents) -> tuple[Images, Pixels]:
        with torch.inference_mode():
            images: Images = module(torch.from_numpy(drawn)).numpy()
        return images, to_pixels(images)

    return Engine(PYTORCH, run)


class _Trial:
    """One engine's batches against the reference, summed up."""

    def __init__(self, engine: Engine, reference: Reference, allowed: Distance) -> None:
        self.engine, self.reference, self.allowed = engine, reference, allowed
        self.images = self.float64_images = 0.0
        self.pixels = 0
        self._sum = self._squares = 0
        self._count = 0

    def run(self, rows: slice) -> None:
        """Draw one batch and compare it. Raises ParityError."""
        reference = self.reference
        try:
            images, pixels = self.engine.run(reference.latents[rows])
        except WganError as exc:
            raise ParityError(f"the export fails on {self._named(rows)}: {exc}") from exc
        self.images = max(
            self.images,
            self._compare("images", images, reference.images[rows], self.allowed.images, rows),
        )
        if rows.stop <= len(reference.images64):
            # In float64 as referee: PyTorch's own rounding cannot excuse the export's.
            expected64 = reference.images64[rows]
            self.float64_images = max(
                self.float64_images,
                self._compare("images", images, expected64, self.allowed.images, rows, "float64"),
            )
        difference = self._compare(
            "pixels", pixels, reference.pixels[rows], self.allowed.pixels, rows
        )
        self.pixels = max(self.pixels, int(difference))
        self._add(pixels, reference.pixels[rows])

    def distance(self) -> Distance:
        """How far all batches were. Raises ParityError for the mean and the PSNR."""
        distance = Distance(
            images=_rounded_up(self.images),
            pixels=self.pixels,
            mean_pixels=_rounded_up(self._sum / self._count),
            psnr=_psnr(self._squares / self._count),
        )
        if distance.mean_pixels > self.allowed.mean_pixels:
            raise ParityError(
                f"the export does not match PyTorch: pixels differ by {distance.mean_pixels:.3g} of"
                f" 255 on average and may by {self.allowed.mean_pixels:g}, on {self.engine}"
            )
        if distance.psnr < self.allowed.psnr:
            raise ParityError(
                f"the export does not match PyTorch: the PSNR is {distance.psnr:.1f} dB and must be"
                f" {self.allowed.psnr:g}, on {self.engine}"
            )
        return distance

    def _add(self, pixels: Pixels, expected: Pixels) -> None:
        difference = np.abs(pixels.astype(np.int64) - expected)
        self._sum += int(difference.sum())
        self._squares += int(np.square(difference).sum())
        self._count += difference.size

    def _compare(
        self,
        name: str,
        got: npt.NDArray[Any],
        expected: npt.NDArray[Any],
        allowed: float,
        rows: slice,
        truth: str = "float32",
    ) -> float:
        """The largest absolute difference. Raises ParityError where it is over `allowed`."""
        _check_kind(name, got, expected.shape, self._named(rows))
        difference = np.abs(got.astype(np.float64) - expected)
        where = np.unravel_index(np.argmax(difference), difference.shape)  # a NaN is the largest
        largest = float(difference[where])
        if not largest <= allowed:
            position = ", ".join(str(index) for index in where[1:])
            raise ParityError(
                f"the export does not match PyTorch ({truth}): {name} of seed"
                f" {rows.start + int(where[0])} at [{position}] are {got[where]:g}, not"
                f" {expected[where]:g}, on {self._named(rows)}; they differ by {largest:.3g} and"
                f" may by {allowed:g}"
            )
        return largest

    def _named(self, rows: slice) -> str:
        size = rows.stop - rows.start
        return f"a batch of {size} (seeds {rows.start}-{rows.stop - 1}), {self.engine}"


def _check_kind(name: str, got: npt.NDArray[Any], shape: tuple[int, ...], where: str) -> None:
    kind = np.dtype(np.float32 if name == "images" else np.uint8)
    if got.shape != shape or got.dtype != kind:
        raise ParityError(
            f"the export does not match PyTorch: its {name} are {got.dtype}{list(got.shape)} where"
            f" {kind}{list(shape)} is wanted, on {where}"
        )


def _furthest(distances: list[Distance]) -> Distance:
    return Distance(
        images=max(distance.images for distance in distances),
        pixels=max(distance.pixels for distance in distances),
        mean_pixels=max(distance.mean_pixels for distance in distances),
        psnr=min(distance.psnr for distance in distances),
    )


def _psnr(mean_square: float) -> float:
    """Peak signal-to-noise ratio of pixels in decibels, to a tenth, downwards."""
    if mean_square == 0:
        return PSNR_LIMIT
    return min(PSNR_LIMIT, math.floor(100 * math.log10(255**2 / mean_square)) / 10)


def _rounded_up(difference: float) -> float:
    """Two digits, upwards: what a receipt needs, and the same wherever the sums end alike."""
    if difference == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(difference)) - 1)
    return float(f"{math.ceil(difference / unit) * unit:.1e}")


def _unique(values: Iterable[Value | None]) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(value for value in values if value is not None))
