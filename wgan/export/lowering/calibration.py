"""The 8-bit form of each value, found by running a graph on random latents.

Calibration needs no data set: a generator's input is random latents.
"""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, TensorProto

from wgan.errors import needs_extra
from wgan.export.lowering.graph import AnyArray, graph_operations
from wgan.latents import labels_from_seeds, latents_from_seeds
from wgan.model_file import LABELS

CALIBRATION_SEEDS = range(2**32 - 256, 2**32)
"""The last 256 seeds: none that the parity gate uses, so a scale cannot be fitted to the proof."""

MIN_SEEDS = 16
"""Images that even the largest generator is calibrated on."""

VALUES_LIMIT = 2**27
"""Activations that are looked at; larger generators are calibrated on fewer images."""

OPERATIONS_LIMIT = 2**37
"""Floating-point operations of a calibration, as far as `MIN_SEEDS` allow; all is done twice."""

CHUNK_VALUES = 2**25
"""Activations that are in memory at a time."""

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

BINS = 2048
"""Bins of the histogram from which a scale is chosen."""

WEIGHT_LIMIT = 64
"""Weights are -64 to 64: x86 CPUs without VNNI add pairs of products in 16 bits, and 2 * 255 * 127
would overflow. The full range would gain 1.6 dB (trained on Fashion-MNIST)."""


@dataclass(frozen=True)
class Quantization:
    """A value's form in uint8: `value = (byte - zero) * scale`."""

    scale: float
    zero: int


@dataclass
class Histogram:
    """The distribution of a value; the bins cover 0 and all values seen."""

    low: float
    high: float
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Iterable[AnyArray]) -> "Histogram":
        """Count arrays that are all in memory."""
        arrays = list(values)
        low, high = _extent(arrays)
        return cls(low, high, _counts(arrays, low, high))


def open_session(model: ModelProto) -> Any:
    """Open a graph under rewriting in ONNX Runtime, on the CPU. Raises MissingExtra.

    Not with `wgan.runtime.engine`: only `export/parity` imports the runtime.
    """
    with needs_extra("cpu", purpose="rewriting an ONNX graph"):
        import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def feed(model: ModelProto, seeds: Sequence[int], classes: int = 0) -> dict[str, AnyArray]:
    """The inputs of `model` for the images of `seeds`, whose labels cover all classes evenly."""
    latents = model.graph.input[0]
    latent_dim = latents.type.tensor_type.shape.dim[1].dim_value
    inputs: dict[str, AnyArray] = {latents.name: latents_from_seeds(seeds, latent_dim)}
    if classes:
        inputs[LABELS] = labels_from_seeds(seeds, classes)
        if classes > MIN_SEEDS:
            # Any number of seeds in a row has labels that are spread (Weyl 1916, golden ratio).
            numbers = np.asarray(seeds, np.float64) - CALIBRATION_SEEDS[0]
            inputs[LABELS] = (numbers * GOLDEN_RATIO % 1 * classes).astype(np.int64)
    return inputs


def calibrate(model: ModelProto, names: Iterable[str], classes: int = 0) -> dict[str, Quantization]:
    """Return the 8-bit form of each named value of `model`, over all of its classes."""
    outputs = sorted(names)
    probe = copy.deepcopy(model)
    del probe.graph.output[:]  # ONNX Runtime skips what no output needs
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs
    )
    session = open_session(probe)

    def run(seeds: Sequence[int]) -> list[AnyArray]:
        values: list[AnyArray] = session.run(outputs, feed(model, seeds, classes))
        return values

    size = sum(value.size for value in run(CALIBRATION_SEEDS[:1]))
    count = max(MIN_SEEDS, min(len(CALIBRATION_SEEDS), VALUES_LIMIT // size, affordable(model)))
    chunks = list(_chunks(CALIBRATION_SEEDS[:count], max(1, CHUNK_VALUES // size)))
    if len(chunks) == 1:
        found = [Histogram.of([value]) for value in run(chunks[0])]
    else:  # a histogram needs the extent first: everything is computed twice, not kept
        found = _histograms(chunks, run)
    return {name: quantization(histogram) for name, histogram in zip(outputs, found, strict=True)}


def affordable(model: ModelProto, runs: int = 1) -> int:
    """Images that `OPERATIONS_LIMIT` is enough for, if each is computed `runs` times."""
    return OPERATIONS_LIMIT // max(1, runs * graph_operations(model))


def _histograms(chunks: Sequence[Sequence[int]], run: Any) -> list[Histogram]:
    extents = [[_extent([value]) for value in run(chunk)] for chunk in chunks]
    found = [
        Histogram(min(low for low, _ in each), max(high for _, high in each), np.zeros(BINS, int))
        for each in zip(*extents, strict=True)
    ]
    for chunk in chunks:
        for histogram, value in zip(found, run(chunk), strict=True):
            histogram.counts += _counts([value], histogram.low, histogram.high)
    return found


def quantization(histogram: Histogram) -> Quantization:
    """Return the uint8 form with the least squared error.

    A smaller scale is finer for most values and clips the largest ones.
    """
    low, high, counts = histogram.low, histogram.high, histogram.counts
    if low == high:
        return Quantization(1.0, 0)
    # Bins replace millions of activations, which are not read again for each candidate.
    edges = np.linspace(low, high, BINS + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    zero = round(-low / (high - low) * 255)
    scales = (high - low) / 255 * np.linspace(0.3, 1.0, 71)
    losses = [
        float(counts @ np.square((_bytes(centers, scale, zero) - zero) * scale - centers))
        for scale in scales
    ]
    return Quantization(float(scales[int(np.argmin(losses))]), zero)


def _bytes(values: AnyArray, scale: float, zero: int) -> AnyArray:
    clipped: AnyArray = np.clip(np.rint(values / scale) + zero, 0, 255)
    return clipped


def quantize_weight(weight: AnyArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return int8 weights `(outputs, ...)` and the scale of each output channel `(outputs,)`."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = (largest / WEIGHT_LIMIT).astype(np.float32)
    scale[scale < np.finfo(np.float32).tiny] = 1  # denormal or zero weights become 0
    steps = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return steps.astype(np.int8), scale


def _chunks(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    starts = itertools.count(0, size)
    return (seeds[start : start + size] for start in itertools.takewhile(len(seeds).__gt__, starts))


def _extent(arrays: Iterable[AnyArray]) -> tuple[float, float]:
    """The least and the largest of the values and 0, which has an exact form in bytes."""
    pairs = [(float(array.min()), float(array.max())) for array in arrays]
    return min(0.0, *(low for low, _ in pairs)), max(0.0, *(high for _, high in pairs))


def _counts(arrays: Iterable[AnyArray], low: float, high: float) -> npt.NDArray[np.int64]:
    limits = (low, high if high > low else low + 1)
    counts = np.zeros(BINS, np.int64)
    for array in arrays:
        counts += np.histogram(array, BINS, limits)[0]
    return counts
