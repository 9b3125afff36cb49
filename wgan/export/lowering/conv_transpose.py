"""Transposed convolutions rewritten into exact forms that run faster on CPUs.

ONNX Runtime computes a transposed convolution image by image, as a matrix product and a scatter
(col2im), and has no 8-bit kernel for it. Three forms replace it, chosen by the layer's shape
(`python -m benchmarks.lowering` measures them and others that were tried):

dense   A layer whose input is a single pixel is a matrix product.
phases  With stride 2, each output pixel depends on a quarter of the kernel's weights (taps): with
        kernel 4 and padding 1 on 2 x 2 of 16. The four phases of the output (even or odd row, even
        or odd column) are four small convolutions.
taps    With few output channels, phases would leave most vector lanes empty. With kernel 4, stride
        2 and padding 1 all 16 products are computed first, then each pixel adds up its four.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto

from wgan.export.lowering.graph import AnyArray, Graph, Shape, attributes, readers, reads

MAX_TAPS_CHANNELS = 8
"""A layer of at most this many output channels takes the form `taps`: a vector register holds 8 or
16 floats."""

MIN_PHASES_TAPS = 16
"""Kernels with fewer taps take the form `phases` only in 8 bits: in float32 the operator was up to
1.4 times as fast with kernels 2 and 3, phases up to 1.4 times with kernels 4, 5 and 6."""


ELEMENTWISE = frozenset(
    {"Add", "Clip", "HardSigmoid", "LeakyRelu", "Mul", "Relu", "Sigmoid", "Tanh"}
)
"""Operators that work on phases as on the whole, if their other inputs are numbers or phases."""


@dataclass(frozen=True)
class AxisPhase:
    """The output rows (or columns) 2y + phase as a convolution."""

    taps: tuple[int, ...]  # the kernel's rows, in the order of the input rows that they weigh
    pads: tuple[int, int]  # zero rows before and after the input


@dataclass(frozen=True)
class ConvTranspose:
    """A transposed convolution, with the ReLU after it if there is one."""

    node: NodeProto
    input: str
    output: str  # after the ReLU
    weight: AnyArray  # (inputs, outputs, rows, columns)
    bias: AnyArray  # (outputs,)
    relu: bool
    shape: Shape  # of the input: (batch, inputs, height, width)
    strides: tuple[int, ...]
    pads: tuple[int, ...]  # top, left, bottom, right
    output_padding: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        """Rows and columns of the kernel."""
        return tuple(self.weight.shape[2:])

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of the output; those of the input must be known."""
        height, width = (
            (size - 1) * self.strides[axis]
            + self.kernel[axis]
            + self.output_padding[axis]
            - self.pads[axis]
            - self.pads[axis + 2]
            for axis, size in enumerate(_input_size(self))
        )
        return height, width


@dataclass(frozen=True)
class Phases:
    """A feature map in four parts: phase (i, j) holds the pixels (2y + i, 2x + j)."""

    names: tuple[tuple[str, str], tuple[str, str]]  # of values (batch, channels, height, width)
    channels: int
    height: int  # of each part
    width: int
    size: tuple[int, int]  # of the whole; the last row or column of the parts may be left out


def lower(model: ModelProto, *, eight_bits: bool = False) -> ModelProto:
    """Rewrite each transposed convolution that has a faster form; all other nodes stay.

    With `eight_bits`, use only forms that `wgan.export.lowering.int8` can quantise.
    """
    return _Lowering(model, eight_bits).run()


def join(graph: Graph, phases: Phases, output: str | None = None) -> str:
    """Interleave the phases and return the name of the whole: `output`, or a new one.

    In channels-last order the pixels of two phases that are neighbours in a row lie side by side,
    so joining columns copies whole pixels and joining rows copies whole rows.
    """
    height, width, channels = phases.height, phases.width, phases.channels
    rows = []
    for names in phases.names:
        pixels = [graph.add("Transpose", name, perm=[0, 2, 3, 1]) for name in names]
        # 2 times (n, h, w, c) -> (n, h, w, 2c) -> (n, h, 1, 2wc)
        joined = graph.add("Concat", *pixels, axis=3)
        line = graph.integers(0, height, 1, 2 * width * channels)
        rows.append(graph.add("Reshape", joined, line))
    joined = graph.add("Concat", *rows, axis=2)
    shaped = graph.add("Reshape", joined, graph.integers(0, 2 * height, 2 * width, channels))
    if phases.size != (2 * height, 2 * width):
        ends = graph.integers(*phases.size)
        shaped = graph.add("Slice", shaped, graph.integers(0, 0), ends, graph.integers(1, 2))
    return graph.add("Transpose", shaped, perm=[0, 3, 1, 2], output=output)


def axis_phases(kernel: int, pad: int, size: int, output_size: int) -> list[AxisPhase] | None:
    """Split one axis of a transposed convolution of stride 2 into its two phases.

    It follows from `out[2i - pad + k] += in[i] * kernel[k]`: output row 2y + phase reads input row
    y + (phase + pad - k) / 2 with each tap k for which that is a whole number.

    Args:
        kernel: taps along the axis.
        pad: the padding before the first row.
        size: input rows.
        output_size: output rows.

    Returns:
        The phases, or None if a phase has no tap or would read less than the whole input.
    """
    rows = -(-output_size // 2)  # of each phase, rounded up
    found = []
    for phase in (0, 1):
        taps = [k for k in range(kernel) if (phase + pad - k) % 2 == 0][::-1]
        if not taps:
            return None
        first, last = ((phase + pad - tap) // 2 for tap in (taps[0], taps[-1]))
        pads = (-first, rows - size + last)
        if min(pads) < 0:
            return None
        found.append(AxisPhase(tuple(taps), pads))
    return found


def read_layer(graph: Graph, node: NodeProto, nodes: Sequence[NodeProto]) -> ConvTranspose | None:
    """Return the layer of `node`, or None unless it is a plain one with constant weights."""
    if node.op_type != "ConvTranspose" or any(n not in graph.constants for n in node.input[1:]):
        return None
    given = attributes(node)
    plain = (
        given.get("group", 1) == 1
        and set(given.get("dilations", [1])) == {1}
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
        and "output_shape" not in given
    )
    shape = graph.shape(node.input[0])
    if not plain or len(shape) != 4:
        return None
    weight = graph.constants[node.input[1]]
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else None
    following = readers(nodes, node.output[0])
    relu = len(following) == 1 and following[0].op_type == "Relu"
    return ConvTranspose(
        node=node,
        input=node.input[0],
        output=following[0].output[0] if relu else node.output[0],
        weight=weight,
        bias=np.zeros(weight.shape[1], weight.dtype) if bias is None else bias,
        relu=relu,
        shape=shape,
        # An attribute that has its default may be left out.
        strides=tuple(given.get("strides", [1, 1])),
        pads=tuple(given.get("pads", [0] * 4)),
        output_padding=tuple(given.get("output_padding", [0, 0])),
    )


class _Lowering:
    """Writes the lowered graph.

    A layer's output stays split into phases until a node needs it whole. The form `taps` reads the
    phases as they are; joining its own outputs is cheaper, since they have fewer channels.
    """

    def __init__(self, model: ModelProto, eight_bits: bool) -> None:
        self._eight_bits = eight_bits
        self._graph = Graph(model)
        self._nodes = list(model.graph.node)
        self._phases: dict[str, Phases] = {}  # values that exist only in phases

    def run(self) -> ModelProto:
        done: set[str] = set()  # outputs of the ReLUs that became part of their layer
        for node in self._nodes:
            layer = read_layer(self._graph, node, self._nodes)
            form = self._choose_form(layer) if layer is not None else None
            if layer is not None and form is not None:
                form(layer)
                done.add(layer.output)
            elif self._flows(node):
                self._apply_to_phases(node)
            elif node.output[0] not in done:
                # Nodes come in the order of computation: what this one reads is written already.
                for name in reads(node):
                    self._join(name)
                self._graph.copy(node)
        for name in self._graph.outputs:
            self._join(name)
        return self._graph.to_model()

    def _choose_form(self, layer: ConvTranspose) -> Callable[[ConvTranspose], None] | None:
        """The fastest exact form of `layer`; None if that is the operator itself."""
        if layer.shape[2:] == (1, 1) and not any((*layer.pads, *layer.output_padding)):
            return self._dense
        # The size must be known: a slice of `_taps` and the shapes of `join` are constants.
        if None in layer.shape[2:] or layer.strides != (2, 2):
            return None
        if layer.weight.shape[1] <= MAX_TAPS_CHANNELS:
            plain = (layer.kernel, layer.pads, layer.output_padding) == ((4, 4), (1,) * 4, (0, 0))
            return self._taps if plain and not self._eight_bits else None
        if math.prod(layer.kernel) < MIN_PHASES_TAPS and not self._eight_bits:
            return None
        return self._four_phases if layer_phases(layer) else None

    def _dense(self, layer: ConvTranspose) -> None:
        """One matrix product: each pixel of the output reads the one pixel of the input."""
        graph = self._graph
        inputs, outputs, rows, columns = layer.weight.shape
        self._join(layer.input)
        flat = graph.add("Reshape", layer.input, graph.integers(0, inputs))  # 0 keeps the batch
        weight = graph.constant(layer.weight.reshape(inputs, -1), "weight")
        bias = graph.constant(np.repeat(layer.bias, rows * columns), "bias")
        product = self._activate(layer, graph.add("Gemm", flat, weight, bias))
        # (n, outputs * rows * columns) -> (n, outputs, rows, columns)
        shape = graph.integers(0, outputs, rows, columns)
        graph.add("Reshape", product, shape, output=layer.output)

    def _four_phases(self, layer: ConvTranspose) -> None:
        """Four small convolutions, one for each phase of the output."""
        phases = layer_phases(layer)
        assert phases is not None
        self._join(layer.input)
        bias = self._graph.constant(layer.bias, "bias")
        (a, b), (c, d) = (
            [self._phase(layer, bias, row, column) for column in phases[1]] for row in phases[0]
        )
        height, width = layer.output_size
        self._phases[layer.output] = Phases(
            ((a, b), (c, d)),
            layer.weight.shape[1],
            -(-height // 2),
            -(-width // 2),
            layer.output_size,
        )

    def _phase(self, layer: ConvTranspose, bias: str, row: AxisPhase, column: AxisPhase) -> str:
        """The output pixels (2y + row's phase, 2x + column's phase)."""
        convolution = self._graph.add(
            "Conv",
            layer.input,
            # Named after the layer, so that `int8` can say which layers stay in float.
            self._graph.constant(phase_kernel(layer.weight, row, column), layer.node.input[1]),
            bias,
            kernel_shape=[len(row.taps), len(column.taps)],
            pads=[row.pads[0], column.pads[0], row.pads[1], column.pads[1]],
        )
        return self._activate(layer, convolution)

    def _taps(self, layer: ConvTranspose) -> None:
        """The products of all 16 taps at each pixel of the input, then sums of four.

        Output row 2i - 1 + k takes input row i with tap k. With k = 2p + r, it is row r of cell
        i + p, where cell c holds the output rows 2c - 1 and 2c. So a 2x2 convolution with ones at
        the right positions sums the cells; their first and last rows lie outside the output.
        """
        graph, (height, width) = self._graph, _input_size(layer)
        inputs, outputs = layer.weight.shape[:2]
        # (inputs, outputs, rows, columns) -> (rows * columns * outputs, inputs, 1, 1)
        weight = graph.constant(
            layer.weight.transpose(2, 3, 1, 0).reshape(-1, inputs, 1, 1), "weight"
        )

        def products_of(value: str) -> str:
            return graph.add("Conv", value, weight, kernel_shape=[1, 1])

        phases = self._phases.get(layer.input)
        if phases is None:
            products = products_of(layer.input)
        else:  # joined after the products, which have fewer channels than the input
            (a, b), (c, d) = phases.names
            names = (products_of(a), products_of(b)), (products_of(c), products_of(d))
            products = join(
                graph, Phases(names, 16 * outputs, phases.height, phases.width, phases.size)
            )
        cells = graph.add(
            "Conv",
            products,
            graph.constant(_summing_kernel(outputs, layer.weight.dtype), "sum"),
            graph.constant(np.tile(layer.bias, 4), "bias"),  # once for each pixel of a cell
            kernel_shape=[2, 2],
            pads=[1, 1, 1, 1],
        )
        # DCR: the depth is (row, column, output), as `_summing_kernel` orders it.
        pixels = graph.add("DepthToSpace", cells, blocksize=2, mode="DCR")
        ends = graph.integers(2 * height + 1, 2 * width + 1)
        inner = graph.add("Slice", pixels, graph.integers(1, 1), ends, graph.integers(2, 3))
        graph.add("Relu" if layer.relu else "Identity", inner, output=layer.output)

    def _flows(self, node: NodeProto) -> bool:
        """Whether a node can work on the phases of what it reads, each by itself."""
        if node.op_type not in ELEMENTWISE or node.input[0] not in self._phases:
            return False
        constants, whole = self._graph.constants, self._phases[node.input[0]]

        def fits(name: str) -> bool:
            if name in constants:
                return constants[name].size == 1
            other = self._phases.get(name)
            return other is not None and (other.channels, other.size) == (
                whole.channels,
                whole.size,
            )

        return all(fits(name) for name in node.input[1:] if name)

    def _apply_to_phases(self, node: NodeProto) -> None:
        """Join later: ONNX Runtime computes an activation inside the convolution before it."""
        whole = self._phases[node.input[0]]

        def apply(row: int, column: int) -> str:
            inputs = [
                self._phases[name].names[row][column] if name in self._phases else name
                for name in node.input
            ]
            return self._graph.add(node.op_type, *inputs, **attributes(node))

        names = ((apply(0, 0), apply(0, 1)), (apply(1, 0), apply(1, 1)))
        self._phases[node.output[0]] = replace(whole, names=names)

    def _activate(self, layer: ConvTranspose, value: str) -> str:
        return self._graph.add("Relu", value) if layer.relu else value

    def _join(self, value: str) -> None:
        """Make `value` whole if it exists only in phases."""
        phases = self._phases.pop(value, None)
        if phases is not None:
            join(self._graph, phases, output=value)


def layer_phases(layer: ConvTranspose) -> tuple[list[AxisPhase], list[AxisPhase]] | None:
    """The phases of a layer's rows and columns, or None if it has no such form."""
    size, output = _input_size(layer), layer.output_size
    rows, columns = (
        axis_phases(layer.kernel[axis], layer.pads[axis], size[axis], output[axis])
        for axis in (0, 1)
    )
    return (rows, columns) if rows and columns else None


def phase_kernel(weight: AnyArray, row: AxisPhase, column: AxisPhase) -> AnyArray:
    """The taps of one phase: `(inputs, outputs, rows, columns)` -> `(outputs, inputs, ...)`."""
    return weight[:, :, row.taps][:, :, :, column.taps].swapaxes(0, 1)


def _input_size(layer: ConvTranspose) -> tuple[int, int]:
    """Height and width of a layer's input."""
    height, width = layer.shape[2:]
    assert height is not None
    assert width is not None
    return height, width


def _summing_kernel(outputs: int, dtype: npt.DTypeLike) -> AnyArray:
    """The kernel of `_taps`: cell `(row, column, output)` from `(tap row, tap column, output)`.

    Shape `(4 * outputs, 16 * outputs, 2, 2)`; position 1 - p of the kernel reads cell - p.
    """
    kernel = np.zeros((2, 2, outputs, 4, 4, outputs, 2, 2), dtype)
    for r, s, p, q in itertools.product((0, 1), repeat=4):
        for output in range(outputs):
            kernel[r, s, output, 2 * p + r, 2 * q + s, output, 1 - p, 1 - q] = 1
    return kernel.reshape(4 * outputs, 16 * outputs, 2, 2)
