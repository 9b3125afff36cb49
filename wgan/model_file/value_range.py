"""The operators that compute a graph's values, and what they say about the values' range."""

import operator
import struct
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from wgan.model_file.wire import FieldValue, read_fields, text_of

ValueRange = tuple[float, float]
"""The values of black and white."""

RANGES: Mapping[str, ValueRange] = {
    "Tanh": (-1.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
}
"""Operators whose output has a known range."""

VALUE_PRESERVING = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that only rearrange the values of their first input."""

VALUE_SELECTING = frozenset({
    *VALUE_PRESERVING, "Cast", "DepthToSpace", "Expand", "Flatten", "Gather", "Round", "Slice",
    "Split", "Tile",
})  # fmt: skip
"""Operators that move, select or copy values of their first input, or round them in its range."""

ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
}

RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
"""Operators that draw numbers."""

WITH_ATTRIBUTES = frozenset(
    {"BatchNormalization", "Clip", "Constant", "Gather", "Resize", "Upsample"}
)
"""Operators whose attributes are read."""

_FORMATS = {1: "<f", 6: "<i", 7: "<q", 9: "<?", 10: "<e", 11: "<d"}
"""Data type -> how `struct` reads one number of it."""

_BOOL = 9
"""The data type of truth values, which may be among a tensor's integers too, a byte each."""


@dataclass(frozen=True)
class Producer:
    """The node that computes a value."""

    operator: str
    source: str | None  # its first input
    inputs: tuple[str, ...] = field(default=(), compare=False)
    attributes: Mapping[str, float | str] = field(default_factory=dict, compare=False)
    # Of each input: its value, if it is a constant that is one number.
    numbers: tuple[float | None, ...] = field(default=(), compare=False)

    def number(self, index: int) -> float | None:
        """The value of an input that is a constant number."""
        return self.numbers[index] if index < len(self.numbers) else None


def resolve(producers: Mapping[str, Producer], numbers: Mapping[str, float]) -> dict[str, Producer]:
    """Give each producer the numbers among its inputs; `numbers` are the initializers'."""
    known = dict(numbers)
    for name, producer in producers.items():
        value = producer.attributes.get("value")
        if producer.operator == "Constant" and isinstance(value, float):
            known[name] = value
    for name, producer in producers.items():
        if producer.operator in ("Cast", "CastLike", "Identity") and producer.source in known:
            known.setdefault(name, known[producer.source])
    numbered: dict[int, Producer] = {}
    for producer in producers.values():
        if id(producer) not in numbered:  # a node may have countless outputs and inputs
            numbers_of = tuple(known.get(value) for value in producer.inputs)
            numbered[id(producer)] = replace(producer, numbers=numbers_of)
    return {name: numbered[id(producer)] for name, producer in producers.items()}


def find_tables(
    producers: Mapping[str, Producer],
    initializers: Collection[str],
    choices: Iterable[tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """Value -> the initializers whose rows it chooses, back to a graph's inputs.

    `choices` are the inputs of each Gather: a table and the indices.
    """
    found: dict[str, tuple[str, ...]] = {}
    for table, *indices in choices:
        if table not in initializers or len(indices) != 1:
            continue
        name = indices[0]
        for _ in range(len(producers)):  # a damaged graph can have a cycle
            producer = producers.get(name)
            if producer is None or producer.operator not in (*VALUE_PRESERVING, "Cast"):
                break
            name = producer.source or ""
        found[name] = (*found.get(name, ()), table)
    return found


def inferred_range(
    name: str, producers: Mapping[str, Producer], *, of_clips: bool = True
) -> ValueRange | None:
    """Range of the value `name`, as the last operators tell it; None if they do not.

    Without `of_clips`, a clip tells nothing: it may be wider than the range, to be safe.
    """
    changes: list[tuple[str, float]] = []  # factors and terms on the way, the last one first
    for _ in range(len(producers)):  # a damaged graph can have a cycle
        producer = producers.get(name)
        if producer is None:
            return None
        kind = producer.operator
        is_nearest = producer.attributes.get("mode", "nearest") == "nearest"
        if kind in VALUE_SELECTING or (kind in ("Resize", "Upsample") and is_nearest):
            name = producer.source or ""
            continue
        number = producer.number(1)
        if kind in ARITHMETIC and number is not None:
            changes.append((kind, number))
            name = producer.source or ""
            continue
        number = producer.number(0)
        if kind in ("Add", "Mul") and number is not None and len(producer.inputs) > 1:
            changes.append((kind, number))
            name = producer.inputs[1]
            continue
        found = RANGES.get(kind) or _softsign(producer, producers)
        if of_clips:
            found = found or _clip(producer)
        return None if found is None else _changed(found, changes)
    return None


def _changed(found: ValueRange, changes: Iterable[tuple[str, float]]) -> ValueRange | None:
    low, high = found
    for kind, number in reversed(list(changes)):
        if kind == "Div" and number == 0:
            return None
        low, high = sorted(ARITHMETIC[kind](value, number) for value in (low, high))
    # 0.5 * (tanh + 1) in float32 constants such as 0.50000001 still means 0 and 1.
    low, high = round(low, 5) + 0.0, round(high, 5) + 0.0  # -0.0 + 0.0 is 0.0
    return (low, high) if low < high else None


def _clip(producer: Producer) -> ValueRange | None:
    if producer.operator != "Clip":
        return None
    low = producer.attributes.get("min", producer.number(1))
    high = producer.attributes.get("max", producer.number(2))
    if not isinstance(low, float) or not isinstance(high, float) or not low < high:
        return None
    return low, high


def _softsign(producer: Producer, producers: Mapping[str, Producer]) -> ValueRange | None:
    """The range of `x / (1 + |x|)`, in which exporters write softsign."""
    if producer.operator != "Div" or len(producer.inputs) != 2:
        return None
    value, divisor = producer.inputs
    add = producers.get(divisor)
    if add is None or add.operator != "Add":
        return None
    sides = [producers.get(name) for name in add.inputs]
    absolute = [side for side in sides if side is not None and side.operator == "Abs"]
    is_one = 1.0 in add.numbers
    return RANGES["Softsign"] if is_one and absolute and absolute[0].source == value else None


def read_attributes(parts: Iterable[tuple[int, FieldValue]]) -> dict[str, float | str]:
    """The numbers, texts and tensors of one number among a node's attributes."""
    found: dict[str, float | str] = {}
    for _, part in parts:
        if not isinstance(part, memoryview):
            continue
        fields = dict(read_fields(part))
        name = text_of(fields.get(1, b""))
        real, whole, text, tensor = (fields.get(number) for number in (2, 3, 4, 5))
        if isinstance(real, memoryview) and len(real) == 4:
            found["value" if name == "value_float" else name] = struct.unpack("<f", real)[0]
        elif isinstance(tensor, memoryview):
            number = number_of(read_fields(tensor))
            if number is not None:
                found[name] = number
        elif isinstance(text, memoryview):
            found[name] = text_of(text)
        elif isinstance(whole, int):
            found["value" if name == "value_int" else name] = float(whole)
    return found


def number_of(parts: Iterable[tuple[int, FieldValue]]) -> float | None:
    """The value of a TensorProto that is one number."""
    kind, sizes, raw = 0, [], b""
    for number, value in parts:
        if number == 1:
            sizes.append(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif not isinstance(value, memoryview) or len(value) > 8:
            continue
        elif number in (4, 9, 10) or (number == 5 and kind == _BOOL):
            raw = bytes(value)
    layout = _FORMATS.get(kind)
    if layout is None or len(raw) != struct.calcsize(layout) or len(sizes) > 4:
        return None
    return float(struct.unpack(layout, raw)[0])
