"""A convolution whose output is split into parts, as one convolution for each part.

Gated linear units (`glu`: half of the channels times the sigmoid of the others) are written so.
ONNX Runtime computes a sigmoid inside the convolution before it, which a split in between prevents.
"""

import numpy as np
from onnx import ModelProto, NodeProto

from wgan.export.lowering.graph import Graph, attributes, readers

OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""The axis of the weights that is the output channels."""


def split_convolutions(model: ModelProto) -> ModelProto:
    """Rewrite each convolution that only a Split of its channels reads; all other nodes stay."""
    graph = Graph(model)
    nodes = list(model.graph.node)
    split: set[str] = set()
    for node in nodes:
        following = readers(nodes, node.output[0])
        is_only = len(following) == 1 and node.output[0] not in graph.outputs
        if is_only and _is_split(graph, node, following[0]):
            _write(graph, node, following[0])
            split.update(following[0].output)
        elif node.output[0] not in split:
            graph.copy(node)
    return graph.to_model()


def _is_split(graph: Graph, node: NodeProto, following: NodeProto) -> bool:
    constant = all(name in graph.constants for name in node.input[1:])
    return (
        node.op_type in OUTPUT_AXIS
        and constant
        and attributes(node).get("group", 1) == 1
        and following.op_type == "Split"
        and attributes(following).get("axis", 0) in (1, -3)
        and all(len(graph.shape(name)) == 4 for name in following.output)
    )


def _write(graph: Graph, node: NodeProto, split: NodeProto) -> None:
    sizes = [graph.shape(name)[1] or 1 for name in split.output]
    weights, *biases = (graph.constants[name] for name in node.input[1:])
    ends = np.cumsum(sizes)[:-1]
    parts = np.split(weights, ends, axis=OUTPUT_AXIS[node.op_type])
    for number, (part, output) in enumerate(zip(parts, split.output, strict=True)):
        rest = [
            graph.constant(np.split(bias, ends)[number], name)
            for name, bias in zip(node.input[2:], biases, strict=True)
        ]
        weight = graph.constant(part, node.input[1])
        given = attributes(node)
        graph.add(node.op_type, node.input[0], weight, *rest, output=output, **given)
