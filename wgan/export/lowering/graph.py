"""An ONNX graph under rewriting: nodes in order, constants by name, shapes."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper

AnyArray = npt.NDArray[Any]
"""A constant of any type."""

Shape = tuple[int | None, ...]
"""A value's axes; None is a free axis."""

WITH_BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Operators that hold graphs of their own."""


class Graph:
    """A new graph with the inputs and outputs of `model`, written node by node.

    Values are known by their names, which go in and come out: `y = graph.add("Relu", x)`.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, AnyArray] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.outputs = [value.name for value in model.graph.output]
        self._shapes = infer_shapes(model)
        # An earlier pass named its values by the same scheme: every name of the model is taken.
        self._names = {
            *self.constants,
            *self.outputs,
            *value_names(model.graph),
        }
        self._count = 0

    def unique_name(self, prefix: str) -> str:
        """Return a name that no value of the model or of this graph has."""
        while True:
            self._count += 1
            name = f"{prefix}_{self._count:03d}"
            if name not in self._names:
                self._names.add(name)
                return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name: `output`, or a new one."""
        name = output or self.unique_name(operator.lower())
        self.nodes.append(onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: npt.ArrayLike, prefix: str) -> str:
        """Add a constant and return its name, which begins with `prefix`."""
        name = self.unique_name(prefix)
        self.constants[name] = np.ascontiguousarray(value)  # a transposed kernel is a view
        return name

    def integers(self, *values: int) -> str:
        """Add a constant of int64: a shape, axes, starts, ..."""
        return self.constant(np.array(values, np.int64), "integers")

    def copy(self, node: NodeProto) -> None:
        """Add a node of the model unchanged."""
        self.nodes.append(node)

    def shape(self, value: str) -> Shape:
        """The shape of a value of the model; () if it is unknown."""
        return self._shapes.get(value, ())

    def to_model(self) -> ModelProto:
        """Return the rewritten model, without nodes and constants that no output needs."""
        model = copy.deepcopy(self._model)
        del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
        nodes = _needed(self.nodes, self.outputs)
        read = {name for node in nodes for name in reads(node)}
        # Numbered again below: copied nodes bring the names that the pass before gave them.
        for number, node in enumerate(nodes):
            copied = model.graph.node.add()
            copied.CopyFrom(node)
            copied.name = f"{number:03d}_{node.op_type}"
        model.graph.initializer.extend(
            numpy_helper.from_array(value, name)
            for name, value in self.constants.items()
            if name in read
        )
        return model


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes as plain values."""
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs inside a node: branches of If, the body of Loop."""
    if node.op_type not in WITH_BODIES:  # `readers` asks this of all nodes for each node
        return []
    return [
        body
        for entry in node.attribute
        for body in (*([entry.g] if entry.HasField("g") else []), *entry.graphs)
    ]


def reads(node: NodeProto) -> list[str]:
    """The values that a node reads: its inputs, and what its bodies read from outside."""
    return [*node.input, *(name for body in bodies(node) for name in _outer_values(body))]


def _outer_values(body: GraphProto) -> Iterator[str]:
    own = {value.name for value in (*body.input, *body.initializer)}
    for node in body.node:
        yield from (name for name in reads(node) if name not in own)
        own.update(node.output)
    yield from (value.name for value in body.output if value.name not in own)


def all_graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and the bodies in it."""
    yield graph
    for node in graph.node:
        for body in bodies(node):
            yield from all_graphs(body)


def all_nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph and of the bodies in it."""
    return (node for each in all_graphs(graph) for node in each.node)


def value_names(graph: GraphProto) -> set[str]:
    """The names of all values of a graph and of the bodies in it."""
    names = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        names.update(node.input, node.output, *map(value_names, bodies(node)))
    return names


def readers(nodes: Sequence[NodeProto], value: str) -> list[NodeProto]:
    """The nodes that read `value`, themselves or in a body."""
    return [node for node in nodes if value in reads(node)]


def _needed(nodes: Sequence[NodeProto], outputs: Sequence[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in order."""
    needed, used = [], set(outputs)
    for node in reversed(nodes):
        if used.intersection(node.output):
            used.update(reads(node))
            needed.append(node)
    return needed[::-1]


def infer_shapes(model: ModelProto) -> dict[str, Shape]:
    """The shapes of the values of a model, outside of bodies, as far as they are known."""
    # Older exporters compute sizes from shapes (`view`): those are found by data propagation.
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            axis.dim_value if axis.HasField("dim_value") else None
            for axis in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def graph_operations(model: ModelProto) -> int:
    """Count the floating-point operations of one image in convolutions and matrix products."""
    graph = Graph(model)
    return sum(node_operations(graph, node) for node in model.graph.node)


def node_operations(graph: Graph, node: NodeProto) -> int:
    """Floating-point operations of a node for one image."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    weight = graph.constants.get(node.input[1])
    if node.op_type == "MatMul":
        inner = graph.shape(node.input[0])[-1:] if weight is None else weight.shape[-2:-1]
        return 2 * _size(inner) * _size(graph.shape(node.output[0])[1:])
    if weight is None:
        return 0
    # Each weight is used once for each position of the small map.
    value = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
    return 2 * math.prod(weight.shape) * _size(graph.shape(value)[2:])


def _size(shape: tuple[int | None, ...]) -> int:
    """The product of the known axes."""
    return math.prod(axis or 1 for axis in shape)
