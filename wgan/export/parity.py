"""The gate: an export must draw what the EMA generator draws in PyTorch, or it is refused.

The engine that runs the export is handed in as a function, so that ONNX Runtime, TorchScript and
a planted fault all pass through the same gate.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wgan.errors import ExportError, ParityError, WganError
from wgan.export.torchscript_format import load_torchscript
from wgan.extras import needs_extra
from wgan.images import Images, Pixels, encode, to_pixels
from wgan.latents import format_seeds, latents
from wgan.manifest import Golden, Receipt

Latents = npt.NDArray[np.float32]
"""`[n, latent_dim]`."""

Engine = Callable[[Latents], tuple[Images, Pixels]]
"""Runs an export: latents -> images and pixels of the same batch."""

BATCH_SIZES = (1, 2, 3, 7, 64)
"""Small ones, ones that are not powers of two, and a common one."""

GOLDENS = range(4)
"""The seeds whose pictures travel in the file."""


@dataclass(frozen=True)
class Tolerance:
    """The largest differences to PyTorch that pass.

    In float32 each of a pixel's sums has up to 16 * 16 * width terms, and engines add them in
    different orders. What that does to a value of Tanh was below 2e-6 for every trained network
    tried; 1e-5 is 1/800 of a pixel's step. Such a difference can still tip a value that lies
    between two pixels, so one pixel of 255 is allowed.
    """

    images: float = 1e-5
    pixels: int = 1


@dataclass(frozen=True)
class Reference:
    """What the EMA generator draws in PyTorch, in float32 on the CPU, for the seeds tried."""

    latents: Latents
    images: Images
    pixels: Pixels

    @classmethod
    def draw(cls, generator: nn.Module, latent_dim: int) -> Self:
        """Draw every seed that the gate needs.

        Raises:
            ExportError: the generator's images are not finite.
        """
        drawn = latents(range(sum(BATCH_SIZES)), latent_dim)
        with torch.inference_mode():
            images: Images = generator(torch.from_numpy(drawn)).numpy()
        if not np.isfinite(images).all():
            raise ExportError(
                "the checkpoint's generator draws values that are not finite: its training"
                " diverged, so export an earlier checkpoint"
            )
        return cls(drawn, images, to_pixels(images))


def prove(
    engine: Engine, reference: Reference, providers: Sequence[str], tolerance: Tolerance
) -> Receipt:
    """Hold `engine` against `reference` at every batch size.

    Raises:
        ParityError: it fails, gives another shape or type, or differs by more than `tolerance`.
    """
    largest_float, largest_pixel = 0.0, 0.0
    for rows in _batches():
        images, pixels = _run(engine, reference.latents[rows], rows)
        largest_float = max(
            largest_float,
            _compare("images", images, reference.images[rows], tolerance.images, rows),
        )
        largest_pixel = max(
            largest_pixel,
            _compare("pixels", pixels, reference.pixels[rows], tolerance.pixels, rows),
        )
    return Receipt(
        seeds=format_seeds(range(len(reference.latents))),
        batch_sizes=BATCH_SIZES,
        providers=tuple(providers),
        float_difference=_rounded_up(largest_float),
        float_tolerance=tolerance.images,
        pixel_difference=int(largest_pixel),
        pixel_tolerance=tolerance.pixels,
        goldens=tuple(Golden(seed=seed, png=encode(reference.pixels[seed])) for seed in GOLDENS),
    )


def onnx_engine(data: bytes) -> Engine:
    """Open an ONNX file's bytes in ONNX Runtime with all the optimisations that users get.

    Raises:
        ParityError: ONNX Runtime refuses the model.
    """
    with needs_extra("cpu", purpose="checking an ONNX export"):
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    failures = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented,
                errors.RuntimeException, errors.InvalidProtobuf)  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except failures as exc:
        raise ParityError(f"ONNX Runtime refuses the export: {exc}") from exc

    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        try:
            images, pixels = session.run(["images", "pixels"], {"latents": drawn})
        except failures as exc:
            raise ParityError(str(exc)) from exc
        return images, pixels

    return engine


def torchscript_engine(data: bytes) -> Engine:
    """Open an archive's bytes as a user of `torch.jit.load` would."""
    module = load_torchscript(data)

    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        with torch.inference_mode():
            images: Images = module(torch.from_numpy(drawn)).numpy()
        return images, to_pixels(images)

    return engine


def _batches() -> Iterator[slice]:
    """One batch of each size, each of its own seeds: 0, then 1 and 2, then 3 to 5, ..."""
    ends = [0, *itertools.accumulate(BATCH_SIZES)]
    return itertools.starmap(slice, itertools.pairwise(ends))


def _run(engine: Engine, drawn: Latents, rows: slice) -> tuple[Images, Pixels]:
    try:
        return engine(drawn)
    except WganError as exc:
        raise ParityError(f"the export fails on {_named(rows)}: {exc}") from exc


def _compare(
    name: str, got: npt.NDArray[Any], expected: npt.NDArray[Any], tolerance: float, rows: slice
) -> float:
    """The largest absolute difference. Raises ParityError where it is over `tolerance`."""
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise ParityError(
            f"the export does not match PyTorch: its {name} are {got.dtype}{list(got.shape)} where"
            f" {expected.dtype}{list(expected.shape)} is wanted, on {_named(rows)}"
        )
    difference = np.abs(got.astype(np.float64) - expected)
    where = np.unravel_index(np.argmax(difference), difference.shape)  # a NaN counts as largest
    largest = float(difference[where])
    if not largest <= tolerance:
        position = ", ".join(str(index) for index in where[1:])
        raise ParityError(
            f"the export does not match PyTorch: {name} of seed {rows.start + int(where[0])} at"
            f" [{position}] are {got[where]:g}, not {expected[where]:g}, on {_named(rows)}; they"
            f" differ by {largest:.3g} and may by {tolerance:g}"
        )
    return largest


def _named(rows: slice) -> str:
    return f"a batch of {rows.stop - rows.start} (seeds {rows.start}-{rows.stop - 1})"


def _rounded_up(difference: float) -> float:
    """Two digits, upwards: what a receipt needs, and the same wherever the sums end alike."""
    if difference == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(difference)) - 1)
    return float(f"{math.ceil(difference / unit) * unit:.1e}")
