"""What a foreign ONNX file takes and gives, as far as rewriting its graph needs it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import onnx.inliner
from onnx import ModelProto, TensorProto

from wgan.errors import ExportError, translated_errors
from wgan.export.lowering.graph import AnyArray, all_nodes
from wgan.model_file.graph_inputs import Inputs
from wgan.model_file.image_outputs import Layout
from wgan.model_file.onnx_scan import OnnxFile, scan
from wgan.model_file.value_range import ValueRange
from wgan.text import first_line

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)

SIXTEEN_BITS = {TensorProto.FLOAT16, TensorProto.BFLOAT16}

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators whose sums round."""

SCALAR_BYTES = 8
"""Bytes of a constant that may be one number."""


@dataclass(frozen=True)
class Interface:
    """The inputs and the images of a generator."""

    inputs: Inputs
    fixed: Mapping[str, AnyArray]  # fixed inputs -> their value; a batch axis has the size 1
    output: str
    layout: Layout
    shape: tuple[int, int, int]  # height, width, channels
    value_range: ValueRange | None  # None for whole numbers from 0 to 255

    @property
    def classes(self) -> int:
        """Number of classes of the labels; 0 without labels."""
        return self.inputs.labels.classes if self.inputs.labels is not None else 0


def inline_functions(model: ModelProto) -> ModelProto:
    """Replace the calls of functions that the file defines itself by the operators inside them.

    Raises:
        ExportError: a function calls itself, or is of operators that cannot be converted.
    """
    if not model.functions:
        return model
    with translated_errors(
        lambda exc: ExportError(
            f"the functions that the file defines cannot be inlined ({first_line(exc, 200)}):"
            " export it without functions"
        )
    ):
        return onnx.inliner.inline_local_functions(model, convert_version=True)


def check_operators(model: ModelProto) -> None:
    """Raise ExportError for operators that would break what a seed promises."""
    model = inline_functions(model)
    for node in all_nodes(model.graph):
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"the file uses the operator {node.op_type} of {node.domain}, which only some"
                " runtimes have: export it with ONNX's own operators"
            )
        if node.op_type == "DynamicQuantizeLinear":
            raise ExportError(
                "the file has 8-bit activations whose scale is that of the whole batch"
                " (DynamicQuantizeLinear), so that an image would depend on the other images of"
                " its batch: take the file in float, or quantise it statically"
            )
    found = scan_graph(model)
    if "batch norm" in found.trains:
        raise ExportError(
            "the file has batch norm in training mode, so that an image would depend on the"
            " other images of its batch: export it after  model.eval()"
        )
    if "dropout" in found.trains:
        raise ExportError(
            "the file has dropout in training mode, so that an image would depend on more than"
            " its seed: export it after  model.eval()"
        )
    if found.draws:
        raise ExportError(
            f"the file draws random numbers itself ({', '.join(sorted(found.draws))}), so that an"
            " image would depend on more than its seed: export it with this noise fixed, or as an"
            " input that  --input NAME=0  can set"
        )


def computes_in_16_bits(model: ModelProto) -> bool:
    """Whether weights, inputs, outputs or what a layer takes are float16 or bfloat16."""
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output):
        kinds.add(value.type.tensor_type.elem_type)
    if kinds & SIXTEEN_BITS:
        return True
    in_16_bits: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "Cast":
            becomes = any(entry.i in SIXTEEN_BITS for entry in node.attribute if entry.name == "to")
        else:
            becomes = not in_16_bits.isdisjoint(node.input)
        if becomes and node.op_type in LAYERS:
            return True
        in_16_bits.update(node.output if becomes else ())
    return False


def scan_graph(model: ModelProto) -> OnnxFile:
    """What a graph declares, and its operators: without the values of large constants."""
    small = copy.deepcopy(model)  # large constants are weights, and tell nothing
    for tensor in small.graph.initializer:
        if len(tensor.raw_data) > SCALAR_BYTES:
            tensor.ClearField("raw_data")
    return scan(small.SerializeToString(), allow_unsafe=True)
