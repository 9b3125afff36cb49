"""Reduced precision: float16, and static int8 quantisation of a lowered graph.

int8 follows Jacob et al. 2017 (arXiv:1712.05877). Activations are uint8 with one scale per layer,
found by calibration before the export. Weights are int8 with one scale per output channel.
Calibration needs no data set: a generator's input is random latents.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto

from wgan.errors import ExportError, needs_extra
from wgan.export.lowering.graph import AnyArray, Graph, attributes, readers
from wgan.latents import latents_from_seeds

CALIBRATION_SEEDS = range(2**32 - 256, 2**32)
"""The last 256 seeds: none that the parity gate uses, so a scale cannot be fitted to the proof."""

WEIGHT_LIMIT = 64
"""Weights are -64 to 64: x86 CPUs without VNNI add pairs of products in 16 bits, and 2 * 255 * 127
would overflow. The full range would gain 1.6 dB (trained on Fashion-MNIST)."""

LAYOUT_OPERATORS = frozenset({"Concat", "Reshape", "Transpose"})
"""Operators that move values without changing them: they run on bytes as they are."""

BINS = 2048
"""Bins of the histogram from which a scale is chosen."""


def to_fp16(model: ModelProto) -> ModelProto:
    """Convert weights and arithmetic to float16; the input and the outputs keep their types.

    The last activation and the pixels are computed in float32: they cost little, and their
    rounding would be visible.
    """
    graph = Graph(model)
    # Value -> its copy in float16.
    halves = {"latents": graph.add("Cast", "latents", to=TensorProto.FLOAT16)}
    in_float32 = False
    for node in model.graph.node:
        in_float32 = in_float32 or "images" in node.output  # from the last activation on
        if in_float32:
            for name in node.input:
                if name in halves:  # pop: a second reader finds the value, already cast back
                    graph.add("Cast", halves.pop(name), to=TensorProto.FLOAT, output=name)
            graph.copy(node)
        else:
            _copy_in_fp16(graph, node, halves)
    return graph.to_model()


def _copy_in_fp16(graph: Graph, node: NodeProto, halves: dict[str, str]) -> None:
    """Add `node` with its float32 inputs in float16; integers (shapes, axes) stay as they are."""
    copied = NodeProto()
    copied.CopyFrom(node)
    for index, name in enumerate(node.input):
        constant = graph.constants.get(name)
        if name not in halves and constant is not None and constant.dtype == np.float32:
            halves[name] = graph.constant(constant.astype(np.float16), "half")
        copied.input[index] = halves.get(name, name)
    for index, name in enumerate(node.output):
        halves[name] = copied.output[index] = graph.unique_name(f"{name}_half")
    graph.nodes.append(copied)


@dataclass(frozen=True)
class _ConvRelu:
    """A convolution and the ReLU after it."""

    node: NodeProto
    relu: NodeProto


def quantize(model: ModelProto) -> ModelProto:
    """Quantise every convolution that a ReLU follows.

    The first matrix product, the last layer, tanh and the pixels stay in float32.

    Raises:
        ExportError: the graph has no such convolution.
    """
    nodes = list(model.graph.node)
    found = [entry for node in nodes if (entry := _conv_relu(node, nodes)) is not None]
    if not found:
        raise ExportError(
            "--precision int8 has no effect on this generator: it has no layer of kernel 4 and"
            " stride 2 that a ReLU follows. Use  --precision fp32"
        )
    groups = _groups(nodes)
    quantized = {groups[entry.node.input[0]] for entry in found}
    quantized |= {groups[entry.relu.output[0]] for entry in found}
    return _Int8Writer(model, found, groups, _calibrate(model, quantized)).write()


def best_scale(values: npt.NDArray[np.float32]) -> float:
    """Return the uint8 scale with the least squared error on `values`, which are at least 0.

    A smaller scale is finer for most values and clips the largest ones.
    """
    largest = float(values.max())
    if largest == 0:
        return 1.0
    # Bins replace millions of activations, which are not read again for each candidate.
    counts, edges = np.histogram(values, BINS, (0.0, largest))
    centers = (edges[:-1] + edges[1:]) / 2
    scales = largest / 255 * np.linspace(0.3, 1.0, 71)
    losses = [
        float(counts @ np.square(np.clip(np.rint(centers / scale), 0, 255) * scale - centers))
        for scale in scales
    ]
    return float(scales[int(np.argmin(losses))])


def quantize_weight(weight: AnyArray) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return int8 weights `(outputs, ...)` and the scale of each output channel `(outputs,)`."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = (largest / WEIGHT_LIMIT).astype(np.float32)
    scale[scale < np.finfo(np.float32).tiny] = 1  # denormal or zero weights become 0
    steps = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)))
    return steps.astype(np.int8), scale


def _conv_relu(node: NodeProto, nodes: list[NodeProto]) -> _ConvRelu | None:
    if node.op_type != "Conv" or attributes(node).get("group", 1) != 1 or len(node.input) != 3:
        return None
    following = readers(nodes, node.output[0])
    if len(following) != 1 or following[0].op_type != "Relu":
        return None
    return _ConvRelu(node, following[0])


def _groups(nodes: list[NodeProto]) -> dict[str, str]:
    """Map each value to the name of its group: values that hold the same numbers share a scale."""
    groups: dict[str, str] = {}
    for node in nodes:
        for name in (*node.input, *node.output):
            groups.setdefault(name, name)
        if node.op_type in LAYOUT_OPERATORS:
            # Further inputs of Reshape and Transpose are shapes, not values.
            data = node.input if node.op_type == "Concat" else node.input[:1]
            joined = {groups[name] for name in data}
            target = groups[node.output[0]]
            groups = {name: target if g in joined else g for name, g in groups.items()}
    return groups


def _calibrate(model: ModelProto, groups: set[str]) -> dict[str, float]:
    """Return the scale of each group; a group's name is the name of one of its values."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported
    with needs_extra("cpu", purpose="calibrating an 8-bit export"):
        import onnxruntime
    names = sorted(groups)
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]  # ONNX Runtime skips what no output needs
    probe.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    # Not opened with wgan.runtime.engine: this model has an output for each value to calibrate, and
    # only export/parity imports the runtime.
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    latent_dim = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    values = session.run(names, {"latents": latents_from_seeds(CALIBRATION_SEEDS, latent_dim)})
    return {name: best_scale(value) for name, value in zip(names, values, strict=True)}


class _Int8Writer:
    """Writes the quantised graph: a value in float, in bytes, or in both, as its readers need."""

    def __init__(
        self,
        model: ModelProto,
        found: list[_ConvRelu],
        groups: Mapping[str, str],
        scales: Mapping[str, float],
    ) -> None:
        self._graph = Graph(model)
        self._nodes = list(model.graph.node)
        self._convolutions = {entry.node.output[0]: entry for entry in found}
        self._relus = {entry.relu.output[0] for entry in found}
        self._groups, self._scales = groups, scales
        self._bytes: dict[str, str] = {}  # value -> its uint8 form
        self._zero = self._graph.constant(np.uint8(0), "zero")
        self._scale_names: dict[str, str] = {}

    def write(self) -> ModelProto:
        for node in self._nodes:
            convolution = self._convolutions.get(node.output[0])
            if convolution is not None:
                self._write_conv_relu(convolution)
            elif node.op_type in LAYOUT_OPERATORS and node.input[0] in self._bytes:
                self._write_layout(node)
            elif node.output[0] not in self._relus:
                self._write_float(node)
        return self._graph.to_model()

    def _write_conv_relu(self, convolution: _ConvRelu) -> None:
        node, output = convolution.node, convolution.relu.output[0]
        weight, scale = quantize_weight(self._graph.constants[node.input[1]])
        step = np.float32(self._scales[self._groups[node.input[0]]])
        # QLinearConv adds the bias to its int32 sums, whose unit is input step times weight step.
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
            self._zero,  # uint8 saturates negative values to 0: this is the ReLU
            self._graph.constant(np.clip(bias, limit.min, limit.max).astype(np.int32), "bias"),
            **attributes(node),
        )

    def _write_layout(self, node: NodeProto) -> None:
        data = node.input if node.op_type == "Concat" else node.input[:1]
        inputs = [self._as_bytes(name) for name in data]
        self._bytes[node.output[0]] = self._graph.add(
            node.op_type, *inputs, *node.input[len(inputs) :], **attributes(node)
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
