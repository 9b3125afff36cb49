"""An ONNX graph as something to rewrite: nodes in order, constants by name, shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, numpy_helper

Array = npt.NDArray[Any]

Shape = tuple[int | None, ...]
"""A value's axes, None where one is free."""


class Graph:
    """A graph that is written anew, node by node; it keeps the interface of `model`.

    What goes in are values' names, and what comes out are names: `y = graph.add("Relu", x)`.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._shapes = _shapes(model)
        self._count = 0

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output, and give the output's name: `output`, or a new one."""
        self._count += 1
        name = output or f"{operator.lower()}_{self._count:03d}"
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: npt.ArrayLike, kind: str) -> str:
        """Add a constant; `kind` begins its name."""
        self._count += 1
        name = f"{kind}_{self._count:03d}"
        self.constants[name] = np.ascontiguousarray(value)
        return name

    def integers(self, *values: int) -> str:
        """Add a constant of int64: a shape, axes, starts, ..."""
        return self.constant(np.array(values, np.int64), "integers")

    def copy(self, node: NodeProto) -> None:
        """Add a node of the model as it is."""
        self.nodes.append(node)

    def shape(self, value: str) -> Shape:
        """The shape of a value of the model; () where it is not known."""
        return self._shapes.get(value, ())

    def to_model(self) -> ModelProto:
        """The rewritten model, without the constants that nothing reads any more."""
        model = ModelProto()
        model.CopyFrom(self._model)
        del model.graph.node[:], model.graph.initializer[:]
        read = {name for node in self.nodes for name in node.input}
        for number, node in enumerate(self.nodes):
            kept = model.graph.node.add()
            kept.CopyFrom(node)
            kept.name = f"{number:03d}_{node.op_type}"
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in self.constants.items()
            if name in read
        )
        return model


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as plain values."""
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def readers(nodes: Sequence[NodeProto], value: str) -> list[NodeProto]:
    """The nodes that read `value`."""
    return [node for node in nodes if value in node.input]


def _shapes(model: ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: tuple(
            axis.dim_value if axis.HasField("dim_value") else None
            for axis in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
