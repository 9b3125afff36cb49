"""Nearest upsampling by 2 and the convolution after it as one layer on the small map.

Each pixel of the small map is read four times by a 3x3 convolution of the upsampled one, with
weights that can be added up before: the pair is a transposed convolution of kernel 4, stride 2 and
padding 1 (Odena et al. 2016, distill.pub/2016/deconv-checkerboard, describe the pair), which
`conv_transpose.py` splits into four 2x2 convolutions. A 1x1 convolution is moved before the
upsampling. Both are exact, borders included.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from wgan.export.lowering.conv_transpose import MAX_TAPS_CHANNELS
from wgan.export.lowering.graph import AnyArray, Graph, Shape, attributes

NEAREST = {
    ("asymmetric", "floor"),
    ("asymmetric", "round_prefer_floor"),
    ("half_pixel", "round_prefer_floor"),
    ("half_pixel", "round_prefer_ceil"),
    ("pytorch_half_pixel", "round_prefer_floor"),
    ("pytorch_half_pixel", "round_prefer_ceil"),
}
"""Modes of Resize (coordinates, rounding) that repeat each pixel when the size is doubled."""

FOLDING = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
"""Taps of the transposed convolution from those of the 3x3 one, along each axis."""


def fold_upsampling(model: ModelProto, *, eight_bits: bool = False) -> ModelProto:
    """Rewrite each convolution that reads a nearest upsampling by 2; all other nodes stay.

    With `eight_bits`, layers of few channels stay too: their transposed form has no 8-bit kernel.
    """
    graph = Graph(model)
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        source = _upsampled(graph, node.input[0], makers) if node.op_type == "Conv" else None
        weight = graph.constants.get(node.input[1]) if source is not None else None
        if source is None or weight is None or not _fold(graph, node, source, weight, eight_bits):
            graph.copy(node)
    return graph.to_model()


def _fold(graph: Graph, node: NodeProto, source: str, weight: AnyArray, eight_bits: bool) -> bool:
    """Add the convolution `node` of the upsampled `source` in its new form, if it has one."""
    given = attributes(node)
    kernel, pads = weight.shape[2:], list(given.get("pads", [0] * 4))
    simple = (
        given.get("group", 1) == 1
        and set(given.get("strides", [1])) == {1}
        and set(given.get("dilations", [1])) == {1}
        and given.get("auto_pad", b"NOTSET") == b"NOTSET"
    )
    rest = list(node.input[2:])
    if simple and kernel == (1, 1) and pads == [0] * 4:
        small = graph.add("Conv", source, node.input[1], *rest, kernel_shape=[1, 1])
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32), "scales")
        pixel = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        graph.add("Resize", small, "", scales, output=node.output[0], mode="nearest", **pixel)
        return True
    if simple and kernel == (3, 3) and pads == [1] * 4:
        if eight_bits and len(weight) <= MAX_TAPS_CHANNELS:
            return False
        folded = graph.constant(transposed_kernel(weight), node.input[1])
        settings = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1] * 4}
        graph.add("ConvTranspose", source, folded, *rest, output=node.output[0], **settings)
        return True
    return False


def transposed_kernel(weight: AnyArray) -> AnyArray:
    """A 3x3 kernel `(outputs, inputs, 3, 3)` -> `(inputs, outputs, 4, 4)`, its folded form."""
    # In float64: sums of four weights are rounded once.
    folded: AnyArray = np.einsum("yi,xj,ocij->coyx", FOLDING, FOLDING, weight.astype(np.float64))
    return folded.astype(weight.dtype)


def _upsampled(graph: Graph, value: str, makers: Mapping[str, NodeProto]) -> str | None:
    """The value that `value` is the nearest upsampling by 2 of, or None."""
    node = makers.get(value)
    while node is not None and node.op_type == "Identity":
        node = makers.get(node.input[0])
    if node is None:
        return None
    find = _SOURCES.get(node.op_type)
    source = find(graph, node, makers) if find is not None else None
    if source is None or not is_doubled(graph.shape(source), graph.shape(value)):
        return None
    return source


def is_doubled(small: Shape, large: Shape) -> bool:
    """Whether both shapes are known maps, the second one twice as high and wide."""
    if len(small) != 4 or len(large) != 4 or None in (*small[1:], *large[1:]):
        return False
    channels, height, width = small[1:]
    assert height is not None
    assert width is not None
    return large[1:] == (channels, 2 * height, 2 * width)


def _resized(graph: Graph, node: NodeProto, makers: Mapping[str, NodeProto]) -> str | None:
    """The input of Resize or Upsample with the mode nearest."""
    given = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in attributes(node).items()
    }
    if given.get("mode", "nearest") != "nearest" or given.get("axes") is not None:
        return None
    if not _has_factor_two(graph, node, given):
        return None
    modes = (
        given.get("coordinate_transformation_mode", "half_pixel"),
        given.get("nearest_mode", "round_prefer_floor"),
    )
    return node.input[0] if node.op_type == "Upsample" or modes in NEAREST else None


def _has_factor_two(graph: Graph, node: NodeProto, given: Mapping[str, Any]) -> bool:
    """Whether Resize or Upsample has exactly the factor 2, if its output is twice as large.

    Sizes are rounded down: the factor 2.2 makes 8 pixels of 4 too, but repeats other ones.
    """
    if given.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    # The inputs are the map, the region, the factors and the sizes; before opset 11 there is no
    # region, before opset 9 the factors are an attribute.
    name = node.input[min(2, len(node.input) - 1)]
    factors = graph.constants.get(name, given.get("scales"))
    if factors is None:
        return not name  # sizes decide
    return len(factors) == 0 or np.array_equal(factors, [1, 1, 2, 2])


def _repeated(graph: Graph, node: NodeProto, makers: Mapping[str, NodeProto]) -> str | None:
    """The input of Reshape, Expand or Tile, Reshape: `x[:, :, :, None, :, None].expand(...)`."""
    wide = makers.get(node.input[0])
    if wide is None or wide.op_type not in ("Expand", "Tile"):
        return None
    split = makers.get(wide.input[0])
    if split is None or split.op_type not in ("Reshape", "Unsqueeze"):
        return None
    small, apart, repeated = (
        graph.shape(name)[1:] for name in (split.input[0], split.output[0], wide.output[0])
    )
    if len(small) != 3 or apart != (small[0], small[1], 1, small[2], 1):
        return None
    return split.input[0] if repeated == (small[0], small[1], 2, small[2], 2) else None


def _stacked(graph: Graph, node: NodeProto, makers: Mapping[str, NodeProto]) -> str | None:
    """The input of DepthToSpace of four copies, as in the WGAN-GP authors' code."""
    copies = makers.get(node.input[0])
    given = attributes(node)
    plain = given.get("blocksize") == 2 and given.get("mode", b"DCR") == b"DCR"
    if copies is None or copies.op_type != "Concat" or not plain:
        return None
    same = len(copies.input) == 4 and len(set(copies.input)) == 1
    return copies.input[0] if same and attributes(copies)["axis"] in (1, -3) else None


def _gathered(graph: Graph, node: NodeProto, makers: Mapping[str, NodeProto]) -> str | None:
    """The input of two Gather that take each row and each column twice: `repeat_interleave`."""
    before = makers.get(node.input[0])
    if before is None or before.op_type != "Gather":
        return None
    axes = set()
    for gather in (before, node):
        axis = attributes(gather).get("axis", 0) % 4
        size = graph.shape(gather.input[0])[axis : axis + 1]
        indices = graph.constants.get(gather.input[1])
        if indices is None or not size or size[0] is None:
            return None
        if not np.array_equal(indices, np.arange(size[0]).repeat(2)):
            return None
        axes.add(axis)
    return before.input[0] if axes == {2, 3} else None


_SOURCES: Mapping[str, Callable[[Graph, NodeProto, Mapping[str, NodeProto]], str | None]] = {
    "Resize": _resized,
    "Upsample": _resized,
    "Reshape": _repeated,
    "DepthToSpace": _stacked,
    "Gather": _gathered,
}
"""Last operator of a form -> the function that finds what it upsamples."""
