"""Transposed convolutions rewritten into what runs fast on CPUs, without changing the result.

ONNX Runtime's transposed convolution goes through a batch image by image, and has no 8-bit form.
Three exact forms take its place, chosen by the layer's shape from the measurements that
docs/performance.md shows:

dense   a kernel on a single pixel is a matrix product
phases  kernel 4, stride 2, padding 1: each output pixel reads 2 x 2 of the 16 taps, so the four
        kinds of pixel (even or odd row, even or odd column) are four convolutions of size 2
kept    with few output channels the operator itself is fastest
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto

from wgan.export.graph import Array, Graph, Shape, attributes, readers

FEW_CHANNELS = 8
"""Up to so many output channels a stride-2 layer is kept: convolutions waste their vectors."""

TAPS = {0: (3, 1), 1: (2, 0)}
"""Kernel rows that the even and odd output rows 2y + phase read, for the input rows y + phase - 1
and y + phase. From `out[2i - 1 + k] += in[i] * kernel[k]`; columns are alike."""


@dataclass(frozen=True)
class Layer:
    """A transposed convolution, and the ReLU behind it if there is one."""

    node: NodeProto
    input: str
    output: str  # behind the ReLU
    weight: Array  # (inputs, outputs, rows, columns)
    bias: Array  # (outputs,)
    relu: bool
    shape: Shape  # of the input: (batch, inputs, height, width)


Form = Callable[[Graph, Layer], None]
"""Writes a layer into a graph: reads `layer.input`, makes `layer.output`, both (n, c, h, w)."""


def lower(model: ModelProto) -> ModelProto:
    """Rewrite each transposed convolution that has a faster form; all others stay."""
    graph = Graph(model)
    nodes = list(model.graph.node)
    done: set[str] = set()  # ReLUs that went into their layer
    for node in nodes:
        layer = read_layer(graph, node, nodes)
        form = choose_form(layer) if layer is not None else None
        if layer is not None and form is not None:
            form(graph, layer)
            done.add(layer.output)
        elif node.output[0] not in done:
            graph.copy(node)
    return graph.to_model()


def read_layer(graph: Graph, node: NodeProto, nodes: Sequence[NodeProto]) -> Layer | None:
    """What `node` computes, if it is a plain transposed convolution of constant weights."""
    if node.op_type != "ConvTranspose" or any(n not in graph.constants for n in node.input[1:]):
        return None
    given = attributes(node)
    plain = (
        given.get("group", 1) == 1
        and set(given.get("dilations", [1])) == {1}
        and set(given.get("output_padding", [0])) == {0}
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in given
    )
    shape = graph.shape(node.input[0])
    if not plain or len(shape) != 4:
        return None
    weight = graph.constants[node.input[1]]
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else None
    behind = readers(nodes, node.output[0])
    relu = len(behind) == 1 and behind[0].op_type == "Relu"
    return Layer(
        node=node,
        input=node.input[0],
        output=behind[0].output[0] if relu else node.output[0],
        weight=weight,
        bias=np.zeros(weight.shape[1], weight.dtype) if bias is None else bias,
        relu=relu,
        shape=shape,
    )


def choose_form(layer: Layer) -> Form | None:
    """The fastest exact form of `layer`; None where that is the operator itself."""
    given = attributes(layer.node)
    kernel = layer.weight.shape[2:]
    strides, pads = list(given.get("strides", [1, 1])), list(given.get("pads", [0] * 4))
    if layer.shape[2:] == (1, 1) and pads == [0] * 4:
        return dense
    halves = (kernel, strides, pads) == ((4, 4), [2, 2], [1] * 4)
    if halves and None not in layer.shape[2:] and layer.weight.shape[1] > FEW_CHANNELS:
        return phases
    return None


def dense(graph: Graph, layer: Layer) -> None:
    """One matrix product: each pixel of the output reads the one pixel of the input."""
    inputs, outputs, rows, columns = layer.weight.shape
    flat = graph.add("Reshape", layer.input, graph.integers(-1, inputs))
    weight = graph.constant(layer.weight.reshape(inputs, -1), "weight")
    bias = graph.constant(np.repeat(layer.bias, rows * columns), "bias")
    made = graph.add("Gemm", flat, weight, bias)
    if layer.relu:
        made = graph.add("Relu", made)
    # (n, outputs * rows * columns) -> (n, outputs, rows, columns)
    graph.add("Reshape", made, graph.integers(-1, outputs, rows, columns), output=layer.output)


def phases(graph: Graph, layer: Layer) -> None:
    """Four convolutions of size 2, then their pixels side by side."""
    height, width = layer.shape[2:]
    assert height is not None
    assert width is not None
    outputs = layer.weight.shape[1]
    bias = graph.constant(layer.bias, "bias")
    rows = []
    for row in (0, 1):
        # Channels last, the phases of a row lie side by side in memory: joining them is a copy of
        # whole pixels. (n, height, width, outputs) twice -> (n, height, 1, width * 2 * outputs)
        parts = [_phase(graph, layer, bias, row, column) for column in (0, 1)]
        joined = graph.add("Concat", *parts, axis=3)
        line = graph.integers(-1, height, 1, 2 * width * outputs)
        rows.append(graph.add("Reshape", joined, line))
    # -> (n, height, 2, width * 2 * outputs), which is (n, 2 * height, 2 * width, outputs)
    joined = graph.add("Concat", *rows, axis=2)
    picture = graph.integers(-1, 2 * height, 2 * width, outputs)
    shaped = graph.add("Reshape", joined, picture)
    graph.add("Transpose", shaped, perm=[0, 3, 1, 2], output=layer.output)


def _phase(graph: Graph, layer: Layer, bias: str, row: int, column: int) -> str:
    """The output pixels (2y + row, 2x + column), channels last."""
    weight = layer.weight[:, :, TAPS[row]][:, :, :, TAPS[column]].swapaxes(0, 1)
    made = graph.add(
        "Conv",
        layer.input,
        graph.constant(weight, "weight"),
        bias,
        kernel_shape=[2, 2],
        pads=[1 - row, 1 - column, row, column],
    )
    if layer.relu:
        made = graph.add("Relu", made)
    return graph.add("Transpose", made, perm=[0, 2, 3, 1])
