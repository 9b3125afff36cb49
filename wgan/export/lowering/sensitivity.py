"""Which layers of a generator run in 8 bits, and which lose too much.

All layers that have an 8-bit form take it at first. If the images then differ too much, each layer
is tried by itself, and those that lose most for their work stay in float. Which ones can run in 8
bits together is measured.
"""

import logging
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from wgan.errors import ExportError
from wgan.export.lowering.calibration import (
    CALIBRATION_SEEDS,
    affordable,
    calibrate,
    feed,
    open_session,
)
from wgan.export.lowering.graph import Graph, node_operations
from wgan.export.lowering.int8 import Int8Writer, Layer, find_layers, value_groups
from wgan.images import to_pixels
from wgan.stop import check_stop

MARGIN_DB = 3.0
"""Decibels above the gate's limit that the choice aims at: it sees fewer images than the gate."""

SEEDS, MIN_SEEDS = 32, 4
"""Images on which layers are compared, and those that even the most expensive ones are."""

CHUNK_VALUES = 2**21
"""Values of images that are drawn at a time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QuantizedModel:
    """A graph in 8 bits."""

    model: ModelProto
    float_layers: tuple[str, ...]  # that could be in 8 bits and stay: names of their weights


def quantize(model: ModelProto, psnr: float, classes: int = 0) -> QuantizedModel:
    """Quantise the layers of `model`, all or as many as keep its pixels within `psnr` decibels.

    With `classes` it takes labels, and images of all classes decide.

    Raises:
        ExportError: no layer has an 8-bit form, or each of them by itself loses too much.
    """
    layers = find_layers(model)
    names = list(dict.fromkeys(layer.name for layer in layers))
    choice = _Choice(model, layers, classes)
    needed = psnr + MARGIN_DB
    best = choice.write(names)
    if choice.error(best) <= _squared_error(needed):
        return QuantizedModel(best, ())
    errors = {}
    for number, name in enumerate(names, 1):
        logger.info("8 bits lose too much: trying layer %d of %d by itself", number, len(names))
        errors[name] = choice.error(choice.write([name]))
    logger.info("choosing the layers in 8 bits")
    kept = choose_layers(
        errors,
        choice.operations(),
        _squared_error(needed),
        lambda chosen: choice.error(choice.write(chosen)),
    )
    if kept:
        left_out = tuple(name for name in names if name not in kept)
        return QuantizedModel(choice.write(kept), left_out)
    worst = min(errors.values())
    raise ExportError(
        "--precision int8 loses too much in each layer of this generator that has an 8-bit form"
        f" ({len(names)}): the best reaches {_decibels(worst):.1f} dB, and {needed:g} are"
        " needed. Use  --precision fp32, or allow less with  --tolerance-psnr"
    )


def choose_layers(
    errors: Mapping[str, float],
    work: Mapping[str, int],
    limit: float,
    measure: Callable[[list[str]], float],
) -> list[str]:
    """Choose layers whose error together is at most `limit`, the most work for the least error.

    Errors of layers add up, but only roughly. So the sum chooses first; what it let in too much is
    taken out, and what it left out is tried, the most work first. Equal work keeps the order of
    `errors`, so that the choice is the same in every process.

    Args:
        errors: name of a layer -> error of the images with only that layer in 8 bits.
        work: name of a layer -> its operations.
        limit: the largest error.
        measure: error of the images with several layers in 8 bits.
    """
    total, kept = 0.0, list[str]()
    for name in sorted(errors, key=lambda name: errors[name] / max(1, work[name])):
        if total + errors[name] <= limit:
            total += errors[name]
            kept.append(name)
    too_much = set[str]()
    while len(kept) > 1 and measure(kept) > limit:
        too_much = {kept.pop()}
    others = [name for name in errors if name not in kept and errors[name] <= limit]
    for name in sorted(others, key=work.__getitem__, reverse=True):
        if not kept or (name not in too_much and measure([*kept, name]) <= limit):
            kept.append(name)
            too_much = set()
    return kept


class _Choice:
    """Writes a graph with some of its layers in 8 bits and measures the error of its pixels."""

    def __init__(self, model: ModelProto, layers: Collection[Layer], classes: int) -> None:
        self._model, self._layers, self._classes = model, layers, classes
        self._groups = value_groups(list(model.graph.node))
        logger.info("calibrating 8-bit values")
        self._scales = calibrate(model, self._groups_of(layers), classes)
        # Every layer is tried, by itself and then together, so that the time is quadratic in their
        # number.
        self._seeds = max(MIN_SEEDS, min(SEEDS, affordable(model, len(layers))))
        self._expected = self._pixels(model)

    def write(self, names: Collection[str]) -> ModelProto:
        """Return the graph with the layers of these names in 8 bits."""
        check_stop()
        chosen = [layer for layer in self._layers if layer.name in names]
        scales = {group: self._scales[group] for group in self._groups_of(chosen)}
        return Int8Writer(self._model, chosen, self._groups, scales).write()

    def _groups_of(self, layers: Collection[Layer]) -> set[str]:
        """The groups of the values that layers read and write."""
        values = (name for layer in layers for name in (layer.node.input[0], layer.output))
        return {self._groups[name] for name in values}

    def operations(self) -> dict[str, int]:
        """Work of the layers of each name."""
        graph, found = Graph(self._model), dict[str, int]()
        for layer in self._layers:
            found[layer.name] = found.get(layer.name, 0) + node_operations(graph, layer.node)
        return found

    def error(self, model: ModelProto) -> float:
        """Mean squared error of the pixels."""
        check_stop()
        return float(np.mean(np.square(self._pixels(model) - self._expected)))

    def _pixels(self, model: ModelProto) -> npt.NDArray[np.float64]:
        session = open_session(model)
        (output,) = (value for value in model.graph.output if value.name == "images")
        shape = output.type.tensor_type.shape.dim
        size = max(1, math.prod(max(1, axis.dim_value) for axis in shape[1:]))
        chunk = max(1, min(self._seeds, CHUNK_VALUES // size))
        parts = [
            session.run(["images"], feed(model, seeds, self._classes))[0]
            for start in range(0, self._seeds, chunk)
            for seeds in [CALIBRATION_SEEDS[start : min(start + chunk, self._seeds)]]
        ]
        return to_pixels(np.concatenate(parts)).astype(np.float64)


def _squared_error(psnr: float) -> float:
    return float(255**2 / 10 ** (psnr / 10))


def _decibels(squared_error: float) -> float:
    return 10 * math.log10(255**2 / squared_error) if squared_error else math.inf
