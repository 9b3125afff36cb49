"""Weights and arithmetic in float16, for GPUs."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from wgan.export.lowering.graph import Graph

SIZES = ("Resize", "Upsample")
"""Operators whose further inputs are sizes and factors, which stay float32."""


def to_fp16(model: ModelProto) -> ModelProto:
    """Convert weights and arithmetic to float16; the inputs and the outputs keep their types.

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
                # Constants are still there in float32.
                if name in halves and name not in graph.constants:
                    # pop: a second reader finds the value, already cast back
                    graph.add("Cast", halves.pop(name), to=TensorProto.FLOAT, output=name)
            graph.copy(node)
        else:
            _copy_in_fp16(graph, node, halves)
    return graph.to_model()


def _copy_in_fp16(graph: Graph, node: NodeProto, halves: dict[str, str]) -> None:
    """Add `node` with its float32 inputs in float16; integers (shapes, labels) stay as they are."""
    copied = NodeProto()
    copied.CopyFrom(node)
    for index, name in enumerate(node.input[:1] if node.op_type in SIZES else node.input):
        constant = graph.constants.get(name)
        if name not in halves and constant is not None and constant.dtype == np.float32:
            halves[name] = graph.constant(constant.astype(np.float16), "half")
        copied.input[index] = halves.get(name, name)
    for entry in copied.attribute:
        if node.op_type == "Cast" and entry.i == TensorProto.FLOAT:
            entry.i = TensorProto.FLOAT16
    for index, name in enumerate(node.output):
        halves[name] = copied.output[index] = graph.unique_name(f"{name}_half")
    graph.nodes.append(copied)
