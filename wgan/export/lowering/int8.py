"""A lowered graph in 8 bits: convolutions on bytes, one scale for each layer's output.

Static quantization (Jacob et al. 2017, arXiv:1712.05877): the scales of activations come from a
calibration before the export, those of weights from the weights, one for each output channel.
Calibrating needs no data set: a generator's input is random latents.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from wgan.errors import ExportError, needs_extra
from wgan.export.lowering.graph import Array, Graph, attributes, readers
from wgan.latents import latents_from_seeds

CALIBRATION_SEEDS = range(2**32 - 256, 2**32)
"""Far from the seeds that the gate judges by and that users draw first."""

WEIGHT_LIMIT = 64
"""Weights are -64 to 64. All of a byte would gain 1.6 dB (trained on Fashion-MNIST), and on x86
CPUs without VNNI pairs of products, 2 * 255 * 127, would overflow the 16 bits that they get."""

MOVES = frozenset({"Concat", "Reshape", "Transpose"})
"""Operators that move values and leave each as it is."""

BINS = 2048
"""Of the histogram that a scale is chosen by."""


@dataclass(frozen=True)
class _Convolution:
    """A convolution and the ReLU behind it."""

    node: NodeProto
    relu: NodeProto


def quantize(model: ModelProto) -> ModelProto:
    """Turn the convolutions with a ReLU behind them into 8-bit ones.

    All else stays in float32: the first matrix product, the last layer, tanh and the pixels.

    Raises:
        ExportError: there is no such convolution.
    """
    nodes = list(model.graph.node)
    found = [entry for node in nodes if (entry := _convolution(node, nodes)) is not None]
    if not found:
        raise ExportError(
            "nothing in this generator can be made 8-bit: it has no layer of kernel 4 and stride 2"
            " with a ReLU behind it"
        )
    groups = _groups(nodes)
    wanted = {groups[entry.node.input[0]] for entry in found}
    wanted |= {groups[entry.relu.output[0]] for entry in found}
    return _Writer(model, found, groups, _calibrate(model, wanted)).write()


def best_scale(values: npt.NDArray[np.float32]) -> float:
    """The step between two of 256 levels from 0 that loses least of `values` (>= 0), squared.

    A smaller step is finer for most values and clips the largest ones.
    """
    largest = float(values.max())
    if largest == 0:
        return 1.0
    counts, edges = np.histogram(values, BINS, (0.0, largest))
    centers = (edges[:-1] + edges[1:]) / 2
    scales = largest / 255 * np.linspace(0.3, 1.0, 71)
    losses = [
        float(counts @ np.square(np.clip(np.rint(centers / scale), 0, 255) * scale - centers))
        for scale in scales
    ]
    return float(scales[int(np.argmin(losses))])


def quantize_weight(weight: Array) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Bytes, and the scale of each output channel: `(outputs, ...)` -> that and `(outputs,)`."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = (largest / WEIGHT_LIMIT).astype(np.float32)
    scale[scale < np.finfo(np.float32).tiny] = 1  # weights so small, or none, become zeros
    steps = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return steps.astype(np.int8), scale


def _convolution(node: NodeProto, nodes: list[NodeProto]) -> _Convolution | None:
    if node.op_type != "Conv" or attributes(node).get("group", 1) != 1 or len(node.input) != 3:
        return None
    behind = readers(nodes, node.output[0])
    if len(behind) != 1 or behind[0].op_type != "Relu":
        return None
    return _Convolution(node, behind[0])


def _groups(nodes: list[NodeProto]) -> dict[str, str]:
    """Value -> a name for all values that hold the same numbers, and so need the same scale."""
    groups: dict[str, str] = {}
    for node in nodes:
        for name in (*node.input, *node.output):
            groups.setdefault(name, name)
        if node.op_type in MOVES:
            data = node.input if node.op_type == "Concat" else node.input[:1]
            joined = {groups[name] for name in data}
            target = groups[node.output[0]]
            groups = {name: target if g in joined else g for name, g in groups.items()}
    return groups


def _calibrate(model: ModelProto, wanted: set[str]) -> dict[str, float]:
    """The scale of each group of values, which the group's own name is one of."""
    with needs_extra("cpu", purpose="calibrating an 8-bit export"):
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as wgan.runtime.engine.session
        import onnxruntime
    names = sorted(wanted)
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    # Opened directly, not by wgan.runtime.engine: this graph is a probe with an output for each
    # value, and only export/parity may import the runtime.
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    latent_dim = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    values = session.run(names, {"latents": latents_from_seeds(CALIBRATION_SEEDS, latent_dim)})
    return {name: best_scale(value) for name, value in zip(names, values, strict=True)}


class _Writer:
    """Writes the 8-bit graph: each value in float, in bytes, or in both as its readers need it."""

    def __init__(
        self,
        model: ModelProto,
        found: list[_Convolution],
        groups: Mapping[str, str],
        scales: Mapping[str, float],
    ) -> None:
        self._graph = Graph(model)
        self._nodes = list(model.graph.node)
        self._convolutions = {entry.node.output[0]: entry for entry in found}
        self._relus = {entry.relu.output[0] for entry in found}
        self._groups, self._scales = groups, scales
        self._bytes: dict[str, str] = {}  # value -> its bytes
        self._zero = self._graph.constant(np.uint8(0), "zero")
        self._scale_names: dict[str, str] = {}

    def write(self) -> ModelProto:
        for node in self._nodes:
            convolution = self._convolutions.get(node.output[0])
            if convolution is not None:
                self._write_convolution(convolution)
            elif node.op_type in MOVES and node.input[0] in self._bytes:
                self._write_move(node)
            elif node.output[0] not in self._relus:
                self._write_float(node)
        return self._graph.to_model()

    def _write_convolution(self, convolution: _Convolution) -> None:
        node, output = convolution.node, convolution.relu.output[0]
        weight, scale = quantize_weight(self._graph.constants[node.input[1]])
        step = np.float32(self._scales[self._groups[node.input[0]]])
        bias = np.rint(self._graph.constants[node.input[2]] / (scale * step))
        limit = np.iinfo(np.int32)
        self._bytes[output] = self._graph.add(
            "QLinearConv",
            self._as_bytes(node.input[0]),
            self._scale(node.input[0]),
            self._zero,
            self._graph.constant(weight, "weight"),
            self._graph.constant(scale, "scale"),
            self._graph.constant(np.zeros(len(scale), np.int8), "zero"),
            self._scale(output),
            self._zero,  # negative values become 0: the ReLU
            self._graph.constant(np.clip(bias, limit.min, limit.max).astype(np.int32), "bias"),
            **attributes(node),
        )

    def _write_move(self, node: NodeProto) -> None:
        data = node.input if node.op_type == "Concat" else node.input[:1]
        moved = [self._as_bytes(name) for name in data]
        self._bytes[node.output[0]] = self._graph.add(
            node.op_type, *moved, *node.input[len(moved) :], **attributes(node)
        )

    def _write_float(self, node: NodeProto) -> None:
        for name in node.input:
            if name in self._bytes:
                self._graph.add(
                    "DequantizeLinear", self._bytes.pop(name), self._scale(name), self._zero,
                    output=name,
                )  # fmt: skip
        self._graph.copy(node)

    def _as_bytes(self, value: str) -> str:
        if value not in self._bytes:
            self._bytes[value] = self._graph.add(
                "QuantizeLinear", value, self._scale(value), self._zero
            )
        return self._bytes[value]

    def _scale(self, value: str) -> str:
        group = self._groups[value]
        if group not in self._scale_names:
            scale = np.float32(self._scales[group])
            self._scale_names[group] = self._graph.constant(scale, "scale")
        return self._scale_names[group]
