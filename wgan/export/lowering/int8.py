"""Static int8 quantisation of a lowered graph.

It follows Jacob et al. 2017 (arXiv:1712.05877). Activations are uint8 with one scale per layer,
found by calibration before the export. Weights are int8 with one scale per output channel. The
graph is written with QuantizeLinear and DequantizeLinear around each convolution (QDQ), which ONNX
Runtime, OpenVINO and TensorRT turn into their own 8-bit kernels.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from wgan.errors import ExportError
from wgan.export.lowering.calibration import Quantization, quantize_weight
from wgan.export.lowering.graph import AnyArray, Graph, attributes, readers, reads

LAYOUT_OPERATORS = frozenset({"Concat", "Flatten", "Identity", "Reshape", "Resize", "Slice",
                              "Squeeze", "Transpose", "Unsqueeze"})  # fmt: skip
"""Operators that move values without changing them: they run on bytes as they are."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights; a convolution with none behind it is the last layer."""


@dataclass(frozen=True)
class Layer:
    """A convolution that has an 8-bit form, with the ReLU or ReLU6 after it if there is one."""

    node: NodeProto
    output: str  # after the activation
    relu: bool
    name: str  # of its weight before the lowering: the four phases of a layer have one name


def find_layers(model: ModelProto) -> list[Layer]:
    """Find the convolutions that can run in 8 bits.

    The last layer stays in float: its rounding would be visible.

    Raises:
        ExportError: the graph has none; the message lists what it has.
    """
    graph, nodes = Graph(model), list(model.graph.node)
    last = _last_values(model)
    found = [
        layer
        for node in nodes
        if (layer := _layer(graph, node, nodes)) is not None and layer.node.output[0] not in last
    ]
    if not found:
        kinds = [node.op_type for node in nodes if node.op_type in PRODUCTS]
        listed = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))) or "none"
        raise ExportError(
            "--precision int8 has no effect on this generator: it has no convolution before its"
            f" last layer that can be made 8-bit. Its layers with weights: {listed}. Use "
            " --precision fp32"
        )
    return found


def _layer(graph: Graph, node: NodeProto, nodes: list[NodeProto]) -> Layer | None:
    constant = all(name in graph.constants for name in node.input[1:])
    if node.op_type != "Conv" or not constant or graph.constants[node.input[1]].ndim != 4:
        return None
    if graph.constants[node.input[1]].dtype != np.float32:
        return None
    following = readers(nodes, node.output[0])
    is_only = len(following) == 1 and node.output[0] not in graph.outputs
    relu = is_only and _is_relu(graph, following[0])
    return Layer(
        node=node,
        output=following[0].output[0] if relu else node.output[0],
        relu=relu,
        name=re.sub(r"(_\d{3,})+$", "", node.input[1]),  # what `unique_name` appends
    )


def _is_relu(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is ReLU, or Clip from 0: bytes from 0 clip at the largest value seen."""
    if node.op_type == "Relu":
        return True
    low = graph.constants.get(node.input[1]) if len(node.input) > 1 else None
    return node.op_type == "Clip" and low is not None and float(low) == 0


def _last_values(model: ModelProto) -> set[str]:
    """The values from which no operator with weights leads to an output."""
    values = {value.name for value in model.graph.output}
    for node in reversed(model.graph.node):
        if values.intersection(node.output) and node.op_type not in PRODUCTS:
            values.update(reads(node))
    return values


def value_groups(nodes: list[NodeProto]) -> dict[str, str]:
    """Map each value to the name of its group: values that hold the same numbers share a scale."""
    groups: dict[str, str] = {}
    for node in nodes:
        for name in (*node.input, *node.output):
            groups.setdefault(name, name)
        if _is_layout(node):
            joined = {groups[name] for name in _moved(node)}
            target = groups[node.output[0]]
            groups = {name: target if g in joined else g for name, g in groups.items()}
    return groups


def _is_layout(node: NodeProto) -> bool:
    mode = attributes(node).get("mode", b"nearest")
    return node.op_type in LAYOUT_OPERATORS and mode == b"nearest"


def _moved(node: NodeProto) -> list[str]:
    """The inputs that a layout operator moves; further ones of Reshape, Slice, ... are sizes."""
    return list(node.input if node.op_type == "Concat" else node.input[:1])


class Int8Writer:
    """Writes the quantised graph: a value in float, in bytes, or in both, as its readers need."""

    def __init__(
        self,
        model: ModelProto,
        layers: Collection[Layer],
        groups: Mapping[str, str],
        scales: Mapping[str, Quantization],
    ) -> None:
        self._graph = Graph(model)
        self._nodes = list(model.graph.node)
        self._layers = {layer.node.output[0]: layer for layer in layers}
        self._relus = {layer.output for layer in layers if layer.relu}
        self._groups, self._scales = groups, scales
        self._bytes: dict[str, str] = {}  # value -> its uint8 form
        self._restored: dict[str, str] = {}  # value -> its uint8 form in float again
        self._only_bytes: set[str] = set()  # values that have no float form yet
        self._constants: dict[str, tuple[str, str]] = {}  # group -> its scale and zero point
        self._wanted = self._find_wanted()

    def write(self) -> ModelProto:
        """Return the quantised graph."""
        for node in self._nodes:
            layer = self._layers.get(node.output[0])
            if layer is not None:
                self._write_layer(layer)
            elif _is_layout(node) and self._moves_bytes(node):
                self._write_layout(node)
            elif node.output[0] not in self._relus:
                self._write_float(node)
        for name in self._graph.outputs:
            self._need_float(name)
        return self._graph.to_model()

    def _find_wanted(self) -> set[str]:
        """The values that only layers in 8 bits read, directly or moved."""
        candidates: set[str] = {name for node in self._nodes for name in node.output}
        candidates.difference_update(self._graph.outputs)
        for node in reversed(self._nodes):
            moved = (
                set(_moved(node)) if _is_layout(node) and node.output[0] in candidates else set()
            )
            read = {node.input[0]} if node.output[0] in self._layers else moved
            candidates -= set(reads(node)) - read
        return candidates

    def _moves_bytes(self, node: NodeProto) -> bool:
        moved = _moved(node)
        if self._groups[moved[0]] not in self._scales:
            return False
        return node.output[0] in self._wanted or any(name in self._only_bytes for name in moved)

    def _write_layer(self, layer: Layer) -> None:
        graph, node = self._graph, layer.node
        weight, scale = quantize_weight(graph.constants[node.input[1]])
        inputs = [
            self._restore(node.input[0]),
            graph.add(
                "DequantizeLinear",
                graph.constant(weight, "weight"),
                graph.constant(scale, "scale"),
                graph.constant(np.zeros(len(scale), np.int8), "zero"),
                axis=0,
            ),
        ]
        if len(node.input) > 2:
            inputs.append(self._bias(node, scale))
        result = graph.add("Conv", *inputs, **attributes(node))
        # uint8 from a zero point of 0 saturates negative values to 0: this is the ReLU.
        self._bytes[layer.output] = graph.add(
            "QuantizeLinear", result, *self._parameters(layer.output)
        )
        self._only_bytes.add(layer.output)

    def _bias(self, node: NodeProto, weight_scale: AnyArray) -> str:
        """The bias as the kernels add it: to int32 sums, in units of input times weight step."""
        step = weight_scale * np.float32(self._scales[self._groups[node.input[0]]].scale)
        limit = np.iinfo(np.int32)
        steps = np.rint(self._graph.constants[node.input[2]] / step)
        return self._graph.add(
            "DequantizeLinear",
            self._graph.constant(np.clip(steps, limit.min, limit.max).astype(np.int32), "bias"),
            self._graph.constant(step, "scale"),
            axis=0,
        )

    def _write_layout(self, node: NodeProto) -> None:
        inputs = [self._as_bytes(name) for name in _moved(node)]
        self._bytes[node.output[0]] = self._graph.add(
            node.op_type, *inputs, *node.input[len(inputs) :], **attributes(node)
        )
        self._only_bytes.add(node.output[0])

    def _write_float(self, node: NodeProto) -> None:
        for name in reads(node):
            self._need_float(name)
        self._graph.copy(node)

    def _need_float(self, value: str) -> None:
        if value in self._only_bytes:
            self._only_bytes.remove(value)
            if value not in self._restored:
                self._dequantize(value, output=value)
            else:
                self._graph.add("Identity", self._restored[value], output=value)

    def _restore(self, value: str) -> str:
        """The float form of a value's bytes, which a convolution reads."""
        if value not in self._restored:
            self._as_bytes(value)
            self._dequantize(value)
        return self._restored[value]

    def _dequantize(self, value: str, output: str | None = None) -> None:
        self._restored[value] = self._graph.add(
            "DequantizeLinear", self._bytes[value], *self._parameters(value), output=output
        )

    def _as_bytes(self, value: str) -> str:
        if value not in self._bytes:
            self._bytes[value] = self._graph.add("QuantizeLinear", value, *self._parameters(value))
        return self._bytes[value]

    def _parameters(self, value: str) -> tuple[str, str]:
        group = self._groups[value]
        if group not in self._constants:
            chosen = self._scales[group]
            self._constants[group] = (
                self._graph.constant(np.float32(chosen.scale), "scale"),
                self._graph.constant(np.uint8(chosen.zero), "zero"),
            )
        return self._constants[group]
