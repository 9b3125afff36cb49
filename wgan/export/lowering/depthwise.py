"""One filter for all channels, as a depthwise convolution.

StyleGAN's blur and other resampling filters are often written as a convolution of single maps:
`x.reshape(n * c, 1, h, w)`, padded, filtered, and reshaped back. ONNX Runtime's kernels compute
blocks of 8 or 16 output channels, of which such a convolution uses one. A depthwise convolution of
the whole `(n, c, h, w)` gives the same values.
"""

import math
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto

from wgan.export.lowering.graph import Graph, attributes, readers


def widen_filters(model: ModelProto) -> ModelProto:
    """Rewrite each filter of single maps; all other nodes stay."""
    graph = Graph(model)
    nodes = list(model.graph.node)
    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        chain = _chain(graph, node, makers) if node.op_type == "Reshape" else None
        inner = [] if chain is None else chain[:-1]
        # Other nodes may use the single maps: then they are computed anyway.
        shared = any(
            len(readers(nodes, inside.output[0])) > 1 or inside.output[0] in graph.outputs
            for inside in inner
        )
        if chain is None or shared:
            graph.copy(node)
        else:
            _write(graph, chain)
    return graph.to_model()


def _chain(
    graph: Graph, last: NodeProto, makers: Mapping[str, NodeProto]
) -> list[NodeProto] | None:
    """The nodes from the Reshape to single maps to `last`, the Reshape back; None if it is none."""
    convolution = makers.get(last.input[0])
    if convolution is None or convolution.op_type not in ("Conv", "ConvTranspose"):
        return None
    before = makers.get(convolution.input[0])
    pad = before if before is not None and before.op_type == "Pad" else None
    first = makers.get(pad.input[0]) if pad is not None else before
    if first is None or first.op_type != "Reshape":
        return None
    filtered, whole = graph.shape(convolution.output[0]), graph.shape(last.output[0])
    source, single = graph.shape(first.input[0]), graph.shape(first.output[0])
    kernel = graph.constants.get(convolution.input[1])
    fits = (
        kernel is not None
        and kernel.shape[:2] == (1, 1)
        and len(convolution.input) == 2
        and all(len(shape) == 4 for shape in (single, filtered, whole))
        and single[1] == filtered[1] == 1
        and None not in (*source[1:], *single[2:], *whole[1:])
        and filtered[2:] == whole[2:]
        # The batch stays the first axis of the source.
        and math.prod(axis or 1 for axis in source[1:])
        == math.prod(axis or 1 for axis in (whole[1], *single[2:]))
    )
    if not fits or (pad is not None and not _pads_maps(graph, pad)):
        return None
    return [first, *([pad] if pad is not None else []), convolution, last]


def _pads_maps(graph: Graph, pad: NodeProto) -> bool:
    """Whether Pad changes the last two axes only."""
    pads = graph.constants.get(pad.input[1])
    axes_named = len(pad.input) > 3 and pad.input[3]
    return pads is not None and len(pads) == 8 and not axes_named and not pads[[0, 1, 4, 5]].any()


def _write(graph: Graph, chain: list[NodeProto]) -> None:
    first, *pads, convolution, last = chain
    channels, height, width = (
        axis or 1 for axis in (graph.shape(last.output[0])[1], *graph.shape(first.output[0])[2:])
    )
    value = first.input[0]
    if graph.shape(value)[1:] != (channels, height, width):
        value = graph.add("Reshape", value, graph.integers(-1, channels, height, width))
    for pad in pads:
        value = graph.add("Pad", value, *pad.input[1:], **attributes(pad))
    kernel = np.tile(graph.constants[convolution.input[1]], (channels, 1, 1, 1))
    graph.add(
        convolution.op_type,
        value,
        graph.constant(kernel, convolution.input[1]),
        output=last.output[0],
        **attributes(convolution) | {"group": channels},
    )
