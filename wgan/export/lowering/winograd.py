"""A stride-2 layer with 9 multiplications where its phases need 16: Winograd's F(2 x 2, 2 x 2).

Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2015, arXiv:1509.09308.

In one dimension, with the input in even and odd rows a[t] = x[2t] and b[t] = x[2t + 1] and the
kernel w[0] to w[3], the phases of the output are

    even[i] = w[3] x[i - 1] + w[1] x[i]        odd[i] = w[2] x[i] + w[0] x[i + 1]

and three products give two of their rows:

    even[2t]     = -w[3] (a[t] - b[t - 1]) + (w[3] + w[1]) a[t]
    even[2t + 1] =                           (w[3] + w[1]) a[t] + w[1] (b[t] - a[t])
    odd[2t]      = -w[2] (b[t] - a[t])     + (w[2] + w[0]) b[t]
    odd[2t + 1]  =                           (w[2] + w[0]) b[t] - w[0] (b[t] - a[t + 1])

Both dimensions together: 25 differences of the input, which all phases share, and 9 convolutions
of size 1 for each phase. ONNX Runtime adds a convolution to the sum of the ones before it without
another pass through memory. The differences are depthwise convolutions, the one operator that
shifts and subtracts in parallel and in the memory layout of the convolutions around it.
"""

from collections.abc import Sequence

import numpy as np

from wgan.export.lowering.feature_maps import Maps
from wgan.export.lowering.graph import Array, Graph

Product = tuple[str, Array]
"""A kind of rows and what they are multiplied by: see `_products`."""


def winograd(graph: Graph, maps: Maps, weight: Array, bias: Array, *, relu: bool) -> Maps:
    """Write the layer; `maps` has 2 x 2 parts, the result 4 x 4 of the same size.

    Args:
        graph: what is written to.
        maps: the input.
        weight: `(inputs, outputs, 4, 4)`.
        bias: `(outputs,)`.
        relu: whether one follows.
    """
    kinds = _kinds(graph, maps)
    shift = graph.constant(bias, "bias")
    parts: list[list[str]] = [[""] * 4 for _ in range(4)]
    for row in (0, 1):
        for column in (0, 1):
            products = [
                [(kinds[above, beside], graph.constant(_pointwise(factor), "weight"))
                 for beside, factor in _products(half, column, axis=2)]
                for above, half in _products(weight, row, axis=2)
            ]  # fmt: skip
            block = _sum(graph, products, shift)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                made = graph.add("Relu", block[i][j]) if relu else block[i][j]
                parts[2 * i + row][2 * j + column] = made
    return Maps(tuple(map(tuple, parts)), weight.shape[1], maps.height, maps.width)


def _products(weight: Array, phase: int, axis: int) -> list[Product]:
    """The three products of the even (0) or odd (1) phase along `axis`, which they use up."""
    w = [weight.take(tap, axis=axis) for tap in range(4)]
    if phase == 0:
        return [("before", -w[3]), ("even", w[3] + w[1]), ("between", w[1])]
    return [("between", -w[2]), ("odd", w[2] + w[0]), ("after", -w[0])]


def _kinds(graph: Graph, maps: Maps) -> dict[tuple[str, str], str]:
    """The 25 differences: kind of rows, kind of columns -> a value of a part's shape."""
    (a, b), (c, d) = maps.parts
    left = _differences(graph, a, c, maps.channels, [1, 0])
    right = _differences(graph, b, d, maps.channels, [1, 0])
    return {
        (above, beside): value
        for above in left
        for beside, value in _differences(
            graph, left[above], right[above], maps.channels, [0, 1]
        ).items()
    }


def _differences(
    graph: Graph, even: str, odd: str, channels: int, axis: Sequence[int]
) -> dict[str, str]:
    """What the products of one dimension read; `axis` is [1, 0] for rows, [0, 1] for columns."""
    down, right = axis

    def subtract(value: str, taps: Sequence[float], begin: int, end: int, minuend: str) -> str:
        kernel = np.array(taps, np.float32).reshape(1, 1, *((-1, 1) if down else (1, -1)))
        shifted = graph.add(
            "Conv",
            value,
            graph.constant(np.repeat(kernel, channels, axis=0), "difference"),
            group=channels,
            kernel_shape=list(kernel.shape[2:]),
            pads=[down * begin, right * begin, down * end, right * end],
        )
        return graph.add("Add", shifted, minuend)

    return {
        "even": even,
        "odd": odd,
        "before": subtract(odd, [-1, 0], 1, 0, even),
        "between": subtract(even, [-1], 0, 0, odd),
        "after": subtract(even, [0, -1], 0, 1, odd),
    }


def _sum(graph: Graph, products: Sequence[Sequence[tuple[str, str]]], bias: str) -> list[list[str]]:
    """Four rows and columns of a phase from its 3 x 3 products: [i][j] sums products i, i + 1."""

    def add(i: int, j: int, addend: str | None = None, bias: str | None = None) -> str:
        inputs = [*products[i][j], *([bias] if bias is not None else [])]
        made = graph.add("Conv", *inputs, kernel_shape=[1, 1])
        return graph.add("Add", made, addend) if addend is not None else made

    middle = add(1, 1, bias=bias)
    beside = [add(1, 0, middle), add(1, 2, middle)]
    block = []
    for i in (0, 2):
        above = add(i, 1)
        block.append(
            [add(i, j, graph.add("Add", above, beside[side])) for side, j in ((0, 0), (1, 2))]
        )
    return block


def _pointwise(factor: Array) -> Array:
    """`(inputs, outputs)` -> the weight of a convolution of size 1."""
    return factor.T[:, :, np.newaxis, np.newaxis]
