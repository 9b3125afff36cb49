"""The range of a generator's images, told from the operators that compute them."""

import operator
from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from wgan.export.lowering.graph import AnyArray, attributes

ValueRange = tuple[float, float]
"""The values of black and white."""

BOUNDED: Mapping[str, ValueRange] = {
    "Tanh": (-1.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
}
"""Operators whose outputs have a range of their own."""

ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}

MOVING = frozenset({
    "Cast", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze",
    "Tile", "Transpose", "Unsqueeze", "DepthToSpace", "Round",
})  # fmt: skip
"""Operators that move, select or copy values, or round them within the range."""


def find_range(model: ModelProto, name: str) -> ValueRange | None:
    """The range of the value `name`, or None if the graph does not tell it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}

    def constant(value: str) -> AnyArray | None:
        if value in constants:
            return numpy_helper.to_array(constants[value])
        node = makers.get(value)
        if node is None or node.op_type not in ("Constant", "Cast", "CastLike", "Identity"):
            return None
        if node.op_type != "Constant":
            return constant(node.input[0])
        given = attributes(node)
        if "value" in given:
            return numpy_helper.to_array(given["value"])
        numbers = [given[key] for key in ("value_float", "value_floats") if key in given]
        return np.asarray(numbers[0]) if numbers else None

    def scalar(value: str) -> float | None:
        array = constant(value) if value else None
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def walk(value: str, depth: int = 0) -> ValueRange | None:
        node = makers.get(value)
        if node is None or depth > len(model.graph.node):  # a damaged graph can have a cycle
            return None
        kind = node.op_type
        if kind in BOUNDED:
            return BOUNDED[kind]
        if kind == "Clip":
            return _clip(node, scalar)
        if kind == "Div" and _is_softsign(node, makers):
            return BOUNDED["Softsign"]
        if kind in MOVING or (kind == "Resize" and attributes(node).get("mode") == b"nearest"):
            return walk(node.input[0], depth + 1)
        if kind in ("Add", "Sub", "Mul", "Div"):
            left, right = node.input
            number = scalar(right)
            inner = walk(left if number is not None else right, depth + 1)
            if number is None and kind in ("Add", "Mul"):
                number = scalar(left)
            return None if number is None or inner is None else _affine(kind, inner, number)
        return None

    return walk(name)


def _clip(node: NodeProto, scalar: Callable[[str], float | None]) -> ValueRange | None:
    given = attributes(node)
    low, high = (
        given.get(name, scalar(node.input[index]) if len(node.input) > index else None)
        for index, name in ((1, "min"), (2, "max"))
    )
    return None if low is None or high is None or not low < high else (float(low), float(high))


def _is_softsign(node: NodeProto, makers: Mapping[str, NodeProto]) -> bool:
    """Whether a node is the division of `x / (1 + |x|)`."""
    add = makers.get(node.input[1])
    sides = add.input if add is not None and add.op_type == "Add" else []
    absolute = [makers[side] for side in sides if side in makers and makers[side].op_type == "Abs"]
    return bool(absolute) and absolute[0].input[0] == node.input[0]


def _affine(kind: str, inner: ValueRange, number: float) -> ValueRange | None:
    if kind in ("Mul", "Div") and number == 0:
        return None
    change = {
        "Add": operator.add,
        "Sub": operator.sub,
        "Mul": operator.mul,
        "Div": operator.truediv,
    }
    low, high = sorted(float(change[kind](value, number)) for value in inner)
    # 0.5 * (tanh + 1) in float32 constants such as 0.50000001 still means 0 and 1.
    return round(low, 5), round(high, 5)
