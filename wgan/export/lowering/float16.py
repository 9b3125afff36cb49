"""Weights and arithmetic in float16, for GPUs."""

import copy

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wgan.errors import ExportError
from wgan.export.lowering.graph import Graph, bodies, reads

SIZES = ("Resize", "Upsample")
"""Operators whose further inputs are sizes and factors, which stay float32."""

EIGHT_BITS = frozenset({
    "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv",
    "QLinearMatMul", "QuantizeLinear",
})  # fmt: skip
"""Operators of 8-bit layers, whose scales are float32."""

WITHOUT_HALVES = frozenset({"Celu", "IsInf", "NonMaxSuppression", "Range"})
"""Operators that ONNX has in float32 and not in float16."""

_ZERO = numpy_helper.from_array(np.zeros(1, np.float32))


def to_fp16(model: ModelProto) -> ModelProto:
    """Convert weights and arithmetic to float16; the inputs and the outputs keep their types.

    The last activation and the pixels are computed in float32: they cost little, and their
    rounding would be visible.

    Raises:
        ExportError: the model has layers in 8 bits.
    """
    eight_bits = [node.op_type for node in model.graph.node if node.op_type in EIGHT_BITS]
    if eight_bits:
        raise ExportError(
            f"--precision fp16 has no form of layers that are in 8 bits already ({eight_bits[0]}):"
            " convert the float32 file that was quantised"
        )
    graph = Graph(model)
    # Value -> its copy in float16.
    halves = {"latents": graph.add("Cast", "latents", to=TensorProto.FLOAT16)}
    whole = {"latents", *graph.constants}  # values that float32 has too
    types = _types(model)
    in_float32 = False
    for node in model.graph.node:
        in_float32 = in_float32 or "images" in node.output  # from the last activation on
        # If and Loop stay as they are.
        if not (in_float32 or bodies(node) or node.op_type in WITHOUT_HALVES):
            _copy_in_fp16(graph, node, halves)
            continue
        for name in reads(node):
            if name in halves and name not in whole:
                if types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT:
                    graph.add("Cast", halves[name], to=TensorProto.FLOAT, output=name)
                else:  # a size or a condition
                    graph.add("Identity", halves[name], output=name)
                whole.add(name)
        graph.copy(node)
        if not in_float32:
            for name in node.output:
                if types.get(name) == TensorProto.FLOAT:
                    halves[name] = graph.add("Cast", name, to=TensorProto.FLOAT16)
        whole.update(node.output)
    return graph.to_model()


def _types(model: ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    return {value.name: value.type.tensor_type.elem_type for value in inferred}


def _copy_in_fp16(graph: Graph, node: NodeProto, halves: dict[str, str]) -> None:
    """Add `node` with its float32 inputs in float16; integers (shapes, labels) stay as they are."""
    copied = copy.deepcopy(node)
    for index, name in enumerate(node.input[:1] if node.op_type in SIZES else node.input):
        constant = graph.constants.get(name)
        if name not in halves and constant is not None and constant.dtype == np.float32:
            halves[name] = graph.constant(constant.astype(np.float16), "half")
        copied.input[index] = halves.get(name, name)
    if node.op_type == "ConstantOfShape" and not node.attribute:  # by default a float32 zero
        copied.attribute.append(helper.make_attribute("value", _ZERO))
    for entry in copied.attribute:
        if entry.name in ("to", "dtype") and entry.i == TensorProto.FLOAT:  # Cast, EyeLike
            entry.i = TensorProto.FLOAT16
        elif entry.name == "value" and entry.t.data_type == TensorProto.FLOAT:  # ConstantOfShape
            value = numpy_helper.to_array(entry.t).astype(np.float16)
            entry.t.CopyFrom(numpy_helper.from_array(value))
    for index, name in enumerate(node.output):
        halves[name] = copied.output[index] = graph.unique_name(f"{name}_half")
    graph.nodes.append(copied)
