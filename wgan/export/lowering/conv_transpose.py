"""Transposed convolutions rewritten into what runs fast on CPUs, without changing the result.

ONNX Runtime's transposed convolution goes through a batch image by image, and has no 8-bit form.
Exact forms take its place, chosen by the layer's shape from the measurements that
docs/performance.md shows:

dense     a kernel on a single pixel is a matrix product
phases    kernel 4, stride 2, padding 1: each output pixel reads 2 x 2 of the 16 taps, so the four
          kinds of pixel (even or odd row, even or odd column) are four convolutions of size 2
winograd  the phases with 9 multiplications where they need 16, for more and smaller operators
taps      few output channels, where the phases would waste the processor's vectors: the products
          of all 16 taps first, then each pixel's sum of four
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from wgan.export.lowering.feature_maps import Maps, join
from wgan.export.lowering.graph import Array, Graph, Shape, attributes, readers
from wgan.export.lowering.winograd import winograd

FEW_CHANNELS = 8
"""Up to so many output channels a layer takes the form `taps`."""

MANY_CHANNELS = 128
"""From inputs * outputs / (inputs + outputs) = 128 on, Winograd's form saves more than it costs."""

SMALL = 4
"""Maps of fewer rows than this fill the processor's vectors badly in convolutions of size 1."""

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


def lower(model: ModelProto, *, eight_bits: bool = False) -> ModelProto:
    """Rewrite each transposed convolution that has a faster form; all others stay.

    With `eight_bits`, only the forms that can be made 8-bit.
    """
    return _Lowering(model, eight_bits).run()


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


class _Lowering:
    """Writes the lowered graph; a value that was made in parts is joined when one asks for it."""

    def __init__(self, model: ModelProto, eight_bits: bool) -> None:
        self._eight_bits = eight_bits
        self._graph = Graph(model)
        self._nodes = list(model.graph.node)
        self._outputs = [value.name for value in model.graph.output]
        self._maps: dict[str, Maps] = {}  # values that are in parts only

    def run(self) -> ModelProto:
        done: set[str] = set()  # ReLUs that went into their layer
        for node in self._nodes:
            layer = read_layer(self._graph, node, self._nodes)
            form = self._choose_form(layer) if layer is not None else None
            if layer is not None and form is not None:
                form(layer)
                done.add(layer.output)
            elif node.output[0] not in done:
                for name in node.input:
                    self._join(name)
                self._graph.copy(node)
        for name in self._outputs:
            self._join(name)
        return self._graph.to_model()

    def _choose_form(self, layer: Layer) -> Callable[[Layer], None] | None:
        """The fastest exact form of `layer`; None where that is the operator itself."""
        given = attributes(layer.node)
        kernel = layer.weight.shape[2:]
        strides, pads = list(given.get("strides", [1, 1])), list(given.get("pads", [0] * 4))
        if layer.shape[2:] == (1, 1) and pads == [0] * 4:
            return self._dense
        if None in layer.shape[2:] or (kernel, strides, pads) != ((4, 4), [2, 2], [1] * 4):
            return None
        if layer.weight.shape[1] <= FEW_CHANNELS:
            return None if self._eight_bits else self._taps
        return self._winograd if self._wants_winograd(layer) else self._phases

    def _wants_winograd(self, layer: Layer) -> bool:
        """Whether the multiplications that are saved are worth the sums that they cost."""
        maps = self._maps.get(layer.input)
        if self._eight_bits or maps is None or len(maps.parts) != 2 or maps.height < SMALL:
            return False
        inputs, outputs = layer.weight.shape[:2]
        return bool(inputs * outputs >= MANY_CHANNELS * (inputs + outputs))

    def _dense(self, layer: Layer) -> None:
        """One matrix product: each pixel of the output reads the one pixel of the input."""
        graph = self._graph
        inputs, outputs, rows, columns = layer.weight.shape
        self._join(layer.input)
        flat = graph.add("Reshape", layer.input, graph.integers(0, inputs))
        weight = graph.constant(layer.weight.reshape(inputs, -1), "weight")
        bias = graph.constant(np.repeat(layer.bias, rows * columns), "bias")
        made = self._activate(layer, graph.add("Gemm", flat, weight, bias))
        # (n, outputs * rows * columns) -> (n, outputs, rows, columns)
        graph.add("Reshape", made, graph.integers(0, outputs, rows, columns), output=layer.output)

    def _phases(self, layer: Layer) -> None:
        """Four convolutions of size 2, one for each kind of output pixel."""
        height, width = _size(layer)
        self._join(layer.input)
        bias = self._graph.constant(layer.bias, "bias")
        parts = tuple(
            tuple(self._phase(layer, bias, row, column) for column in (0, 1)) for row in (0, 1)
        )
        self._maps[layer.output] = Maps(parts, layer.weight.shape[1], height, width)

    def _phase(self, layer: Layer, bias: str, row: int, column: int) -> str:
        """The output pixels (2y + row, 2x + column)."""
        weight = layer.weight[:, :, TAPS[row]][:, :, :, TAPS[column]].swapaxes(0, 1)
        made = self._graph.add(
            "Conv",
            layer.input,
            self._graph.constant(weight, "weight"),
            bias,
            kernel_shape=[2, 2],
            pads=[1 - row, 1 - column, row, column],
        )
        return self._activate(layer, made)

    def _winograd(self, layer: Layer) -> None:
        maps = self._maps[layer.input]
        made = winograd(self._graph, maps, layer.weight, layer.bias, relu=layer.relu)
        self._maps[layer.output] = made

    def _taps(self, layer: Layer) -> None:
        """The products of all 16 taps in each pixel of the input, then sums of four.

        Output row 2i - 1 + k has input row i with tap k. With k = 2p + r, that is row r of the
        cell i + p, where cell c holds the output rows 2c - 1 and 2c. So a convolution of size 2
        with ones in the right places sums up the cells; their first and last rows are too many.
        """
        graph, (height, width) = self._graph, _size(layer)
        inputs, outputs = layer.weight.shape[:2]
        # (inputs, outputs, rows, columns) -> (rows * columns * outputs, inputs, 1, 1)
        weight = graph.constant(
            layer.weight.transpose(2, 3, 1, 0).reshape(-1, inputs, 1, 1), "weight"
        )
        maps = self._maps.get(layer.input)
        maps = maps or Maps(((layer.input,),), inputs, height, width)
        products = Maps(
            tuple(
                tuple(graph.add("Conv", part, weight, kernel_shape=[1, 1]) for part in row)
                for row in maps.parts
            ),
            16 * outputs,
            maps.height,
            maps.width,
        )
        cells = graph.add(
            "Conv",
            join(graph, products),
            graph.constant(_summing_kernel(outputs, layer.weight.dtype), "sum"),
            graph.constant(np.tile(layer.bias, 4), "bias"),
            kernel_shape=[2, 2],
            pads=[1, 1, 1, 1],
        )
        made = graph.add("DepthToSpace", cells, blocksize=2, mode="DCR")
        ends = graph.integers(2 * height + 1, 2 * width + 1)
        cut = graph.add("Slice", made, graph.integers(1, 1), ends, graph.integers(2, 3))
        self._graph.add("Relu" if layer.relu else "Identity", cut, output=layer.output)

    def _activate(self, layer: Layer, value: str) -> str:
        return self._graph.add("Relu", value) if layer.relu else value

    def _join(self, value: str) -> None:
        """Make `value` a whole, if it is in parts only."""
        maps = self._maps.pop(value, None)
        if maps is not None:
            join(self._graph, maps, output=value)


def _size(layer: Layer) -> tuple[int, int]:
    """Height and width of a layer's input."""
    height, width = layer.shape[2:]
    assert height is not None
    assert width is not None
    return height, width


def _summing_kernel(outputs: int, kind: npt.DTypeLike) -> Array:
    """The kernel of `_taps`: `(row, column, output)` of a cell <- `(tap row, tap column, output)`.

    Shape `(4 * outputs, 16 * outputs, 2, 2)`; position 1 - p of the kernel reads cell - p.
    """
    kernel = np.zeros((2, 2, outputs, 4, 4, outputs, 2, 2), kind)
    for r, s, p, q in itertools.product((0, 1), repeat=4):
        for output in range(outputs):
            kernel[r, s, output, 2 * p + r, 2 * q + s, output, 1 - p, 1 - q] = 1
    return kernel.reshape(4 * outputs, 16 * outputs, 2, 2)
