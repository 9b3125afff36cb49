"""A graph in 16-bit floats between its latents and its last activation."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from wgan.export.lowering.graph import Graph


def halve(model: ModelProto) -> ModelProto:
    """Turn weights and arithmetic into float16; the input and the outputs stay as they are.

    The last activation and the pixels are computed in float32: they cost little, and rounding
    there would be seen.
    """
    graph = Graph(model)
    halves = {"latents": graph.add("Cast", "latents", to=TensorProto.FLOAT16)}  # value -> its half
    drawn = False
    for node in model.graph.node:
        drawn = drawn or "images" in node.output
        if drawn:
            for name in node.input:
                if name in halves:
                    graph.add("Cast", halves.pop(name), to=TensorProto.FLOAT, output=name)
            graph.copy(node)
        else:
            _copy_halved(graph, node, halves)
    return graph.to_model()


def _copy_halved(graph: Graph, node: NodeProto, halves: dict[str, str]) -> None:
    """Add `node` with its values in float16, unless they are integers: shapes, axes."""
    copied = NodeProto()
    copied.CopyFrom(node)
    for index, name in enumerate(node.input):
        constant = graph.constants.get(name)
        if name not in halves and constant is not None and constant.dtype == np.float32:
            halves[name] = graph.constant(constant.astype(np.float16), "half")
        copied.input[index] = halves.get(name, name)
    for index, name in enumerate(node.output):
        halves[name] = copied.output[index] = f"{name}_half"
    graph.nodes.append(copied)
