"""A scan of an ONNX file's bytes before ONNX Runtime opens them.

A model file may come from a stranger, and ONNX lets a tensor read its values from another file:
among the initializers, in a node's attributes, in the subgraphs of an `If`, in functions. The scan
visits every place that can hold a tensor and refuses external data, with the standard library only.
The field numbers are those of `onnx.proto` (ONNX 1.23, IR version 13).

The weights of a foreign file may be in another file in its own folder, if the caller allows that.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wgan.errors import ModelFileError
from wgan.model_file.value_range import (
    RANDOM,
    WITH_ATTRIBUTES,
    Producer,
    find_tables,
    number_of,
    read_attributes,
    resolve,
)
from wgan.model_file.wire import (
    FieldValue,
    WireError,
    encode_field,
    read_fields,
    text_of,
)
from wgan.text import printable

FIELD_LIMIT = 1_000_000
"""Most fields in a file: reading each costs time, and no generator has as many (the weights of a
tensor are one field)."""

DEPTH_LIMIT = 60
"""Deepest nesting of messages; the limit of Protocol Buffers itself is 100."""

# Message -> {field number: message in that field}, for every message that can hold a tensor.
_CHILDREN: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 14: "Property", 20: "Training", 25: "Function"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Tensor": {},
    "Property": {},
}

# Field numbers of a Tensor and of a Node.
_TENSOR_DIMS, _TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 1, 8, 13, 14
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5

_ELEMENT_TYPES = (
    *("?", "float", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
    *("float16", "double", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
)
"""ONNX Runtime's names of `TensorProto.DataType`."""

Axis = int | str | None
"""A size; a name or None if the axis is free."""


@dataclass(frozen=True)
class ValueInfo:
    """An input or output of a graph: its name, its element type and its axes."""

    name: str
    type: str  # as ONNX Runtime writes it: "tensor(float)"
    shape: tuple[Axis, ...]

    @classmethod
    def of(cls, argument: Any) -> Self:
        """Convert an item of `InferenceSession.get_inputs()` or `get_outputs()`."""
        return cls(argument.name, argument.type, tuple(argument.shape))

    def __str__(self) -> str:
        axes = ["?" if axis is None else str(axis)[:60] for axis in self.shape[:8]]
        more = ["..."] if len(self.shape) > 8 else []
        return printable(f"{self.name[:60]} {self.type} [{', '.join([*axes, *more])}]")


@dataclass
class OnnxFile:
    """The parts of a scanned file that wgan uses."""

    metadata: dict[str, bytes] = field(default_factory=dict)  # `wgan.manifest` among it
    # Value -> the node of the main graph that computes it.
    producers: dict[str, Producer] = field(default_factory=dict)
    inputs: list[ValueInfo] = field(default_factory=list)  # without those that have a default
    outputs: list[ValueInfo] = field(default_factory=list)
    opset: int | None = None  # version of ONNX's own operators
    exporter: str = ""  # the program that wrote it
    # Files that hold weights of the main graph, as the file names them.
    external: set[str] = field(default_factory=set)
    # Input -> the tables whose rows it chooses: the embeddings of a label's classes.
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Input -> the rows of the smallest of them, which are the classes.
    embeddings: dict[str, int] = field(default_factory=dict)
    draws: set[str] = field(default_factory=set)  # operators that draw random numbers
    trains: set[str] = field(default_factory=set)  # "batch norm", "dropout": in training mode
    unsafe: str = ""  # why ONNX Runtime must not open it; empty if it may


EXTERNAL = (
    "its weights are in another file (external data), which is read only for models without a"
    " manifest, in their own folder, opened by their path: save it as one file, with"
    "  onnx.save(onnx.load('f.onnx'), 'one.onnx')"
)
"""Error message for a file that is not complete."""


def scan(
    data: bytes | mmap.mmap, *, allow_unsafe: bool = False, allow_external: bool = False
) -> OnnxFile:
    """Scan an ONNX file's bytes.

    With `allow_unsafe` the file may refer to others: it will only be described. With
    `allow_external` weights of its main graph may be in the files `external`, which the caller
    checks.

    Raises:
        ModelFileError: the bytes are damaged, not ONNX, or refer to another file.
    """
    scanner = _Scanner()
    try:
        scanner.walk(memoryview(data), "Model", ())
    except WireError as exc:
        raise ModelFileError(f"it is damaged or not an ONNX file ({exc})") from exc
    if not scanner.has_graph:
        raise ModelFileError("it is not an ONNX file: it holds no graph")
    found = scanner.found
    if found.external and not allow_external:
        found.unsafe = EXTERNAL
    if found.unsafe and not allow_unsafe:
        raise ModelFileError(found.unsafe)
    # A node that no output depends on changes no image.
    needed = scanner.needed_values()
    found.draws = {name for name, values in scanner.random if not needed.isdisjoint(values)}
    if any(scanner.is_training(dropout) for dropout in scanner.dropouts):
        found.trains.add("dropout")
    found.producers = resolve(found.producers, scanner.numbers)
    found.tables = find_tables(found.producers, scanner.rows, scanner.choices)
    found.embeddings = {
        name: min(scanner.rows[table] for table in tables) for name, tables in found.tables.items()
    }
    found.inputs = [value for value in found.inputs if value.name not in scanner.initializers]
    return found


def extra_output(name: str) -> bytes:
    """Return bytes that, after those of an ONNX file, make a value an output of its graph.

    Protocol Buffers merge two occurrences of a message. ModelProto's field 7 is the graph,
    GraphProto's field 12 an output, ValueInfoProto's field 1 its name.
    """
    content = name.encode()
    for number in (1, 12, 7):
        content = encode_field(number, content)
    return content


def extra_input(name: str, element: str, axes: int) -> bytes:
    """Return bytes that make an initializer a value which a run may replace, of any size.

    As `extra_output`; field 11 is an input, whose type is nested in the fields 2 and 1: the element
    type, and a shape of `axes` free axes.
    """
    shape = encode_field(1, b"") * axes
    tensor = encode_field(1, _ELEMENT_TYPES.index(element)) + encode_field(2, shape)
    value = encode_field(1, name.encode()) + encode_field(2, encode_field(1, tensor))
    return encode_field(7, encode_field(11, value))


@dataclass
class _Scanner:
    found: OnnxFile = field(default_factory=OnnxFile)
    initializers: set[str] = field(default_factory=set)  # of the main graph
    numbers: dict[str, float] = field(default_factory=dict)  # constants that are one number
    rows: dict[str, int] = field(default_factory=dict)  # first axes of initializers
    choices: list[tuple[str, ...]] = field(default_factory=list)  # inputs of each Gather
    dropouts: list[list[str]] = field(default_factory=list)  # inputs of each Dropout
    constants: dict[str, float | str] = field(default_factory=dict)  # of Constant, in any graph
    random: list[tuple[str, list[str]]] = field(default_factory=list)  # operators, outputs
    reads: list[list[str]] = field(default_factory=list)  # inputs of each node, in any graph
    makers: dict[str, list[int]] = field(default_factory=dict)  # value -> nodes that compute it
    results: set[str] = field(default_factory=set)  # outputs of graphs and functions
    has_graph: bool = False
    fields: int = 0

    def walk(self, data: memoryview, message: str, path: tuple[str, ...]) -> None:
        """Visit `message`, whose parents are `path`, and every message below it."""
        if len(path) > DEPTH_LIMIT:
            raise ModelFileError(f"it nests more than {DEPTH_LIMIT} messages deep")
        children = _CHILDREN[message]
        is_main_graph = (*path, message) == ("Model", "Graph")
        node: dict[int, list[str]] = {_INPUT: [], _OUTPUT: [], _OPERATOR: [""]}
        parts: list[tuple[int, FieldValue]] = []  # of a tensor, or the attributes of a node
        for number, value in self._fields(data):
            if message == "Model":
                self._read_header(number, value)
            elif is_main_graph and isinstance(value, memoryview) and number in (11, 12):
                values = self.found.inputs if number == 11 else self.found.outputs
                values.append(self._read_value(value))
            elif message == "Tensor":
                parts.append((number, value))
            elif message == "Node" and number in node and isinstance(value, memoryview):
                node[number].append(text_of(value))
            elif message == "Node" and number == _ATTRIBUTE:
                parts.append((number, value))
            if isinstance(value, memoryview):
                self._read_result(message, number, value)
            child = children.get(number)
            if child is not None and isinstance(value, memoryview):
                self._enter(value, child, (*path, message))
        if message == "Tensor":
            self._read_tensor(parts, path)
        if message == "Node":
            # The empty name means that an output is left out: it is no value.
            node[_OUTPUT] = [name for name in node[_OUTPUT] if name]
            # An attribute of EPContext names a compiled engine: a file that some providers open.
            operator = node[_OPERATOR][-1]
            for name in node[_OUTPUT]:
                self.makers.setdefault(name, []).append(len(self.reads))
            self.reads.append(node[_INPUT])
            if operator == "EPContext":
                self.found.unsafe = (
                    "it holds an EPContext node, which loads a compiled engine: export it without"
                    " one"
                )
            attributes = read_attributes(parts) if operator in WITH_ATTRIBUTES else {}
            if operator in RANDOM:
                self.random.append((operator, node[_OUTPUT]))
            elif operator == "BatchNormalization":
                if attributes.get("training_mode") or len(node[_OUTPUT]) > 1:
                    self.found.trains.add("batch norm")
            elif operator == "Dropout":
                self.dropouts.append(node[_INPUT])
            elif operator == "Constant" and "value" in attributes:
                self.constants.update(dict.fromkeys(node[_OUTPUT], attributes["value"]))
            if path == ("Model", "Graph"):  # not a subgraph or a function
                producer = Producer(
                    operator, next(iter(node[_INPUT]), None), tuple(node[_INPUT]), attributes
                )
                self.found.producers.update(dict.fromkeys(node[_OUTPUT], producer))
                if operator == "Gather" and not attributes.get("axis"):
                    self.choices.append(tuple(node[_INPUT]))

    def _read_result(self, message: str, number: int, value: memoryview) -> None:
        """Note the name of a value that a graph or a function gives."""
        if (message, number) == ("Function", 5):
            self.results.add(text_of(value))
        elif (message, number) == ("Graph", 12):
            self.results.add(self._read_value(value).name)

    def needed_values(self) -> set[str]:
        """The values that an output of a graph or a function depends on.

        Each graph counts as run, so that the same name in two of them is one value.
        """
        needed, waiting, nodes = set[str](), list(self.results), set[int]()
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            needed.add(name)
            for node in self.makers.get(name, ()):
                if node not in nodes:  # each once: a node may have countless outputs and inputs
                    nodes.add(node)
                    waiting += self.reads[node]
        return needed

    def is_training(self, dropout: list[str]) -> bool:
        """Whether a Dropout of these inputs, data, ratio and mode, is known to drop values."""
        known = self.constants | self.numbers
        _, ratio, mode = (*dropout, "", "", "")[:3]
        return known.get(mode) == 1 and known.get(ratio) != 0

    def _read_header(self, number: int, value: FieldValue) -> None:
        if not isinstance(value, memoryview):
            return
        if number == 2:
            self.found.exporter = text_of(value)
        elif number == 8:
            fields = dict(self._fields(value))
            version = fields.get(2, 0)
            # Both names are the domain of ONNX itself.
            if text_of(fields.get(1, b"")) in ("", "ai.onnx") and isinstance(version, int):
                self.found.opset = version

    def _read_tensor(self, parts: list[tuple[int, FieldValue]], path: tuple[str, ...]) -> None:
        is_weight = path == ("Model", "Graph")
        name, locations, is_external = "", set(), False
        rows = next((value for number, value in parts if number == _TENSOR_DIMS), None)
        for number, value in parts:
            if number == _TENSOR_NAME and isinstance(value, memoryview):
                name = text_of(value)
            elif number == _TENSOR_EXTERNAL_DATA and isinstance(value, memoryview):
                is_external = True
                entry = dict(self._fields(value))
                if text_of(entry.get(1, b"")) == "location":
                    locations.add(text_of(entry.get(2, b"")))
            elif number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value):
                is_external = True
        if is_external and is_weight and locations:
            self.found.external |= locations
        elif is_external:
            self.found.unsafe = EXTERNAL
        if is_weight:
            self.initializers.add(name)
            if isinstance(rows, int):
                self.rows[name] = rows
            value_of = number_of(parts)
            if value_of is not None:
                self.numbers[name] = value_of

    def _read_value(self, data: memoryview) -> ValueInfo:
        """Read a ValueInfoProto: name, element type and shape."""
        fields = dict(self._fields(data))
        name, kind = fields.get(1, b""), dict(self._messages(fields.get(2)))
        tensor = kind.get(1)
        if tensor is None:
            return ValueInfo(text_of(name), "sequence, map or optional", ())
        element, shape = "?", tuple[Axis, ...]()
        for number, value in self._fields(tensor):
            if number == 1 and isinstance(value, int):
                known = value < len(_ELEMENT_TYPES)
                element = _ELEMENT_TYPES[value] if known else f"type {value}"
            elif number == 2 and isinstance(value, memoryview):
                shape = tuple(self._read_axis(axis) for n, axis in self._messages(value) if n == 1)
        return ValueInfo(text_of(name), f"tensor({element})", shape)

    def _read_axis(self, data: memoryview) -> Axis:
        fields = dict(self._fields(data))
        size, name = fields.get(1), fields.get(2, b"")
        if isinstance(size, int):
            return size if size < 2**63 else size - 2**64
        return text_of(name) or None

    def _messages(self, data: FieldValue | None) -> Iterator[tuple[int, memoryview]]:
        if isinstance(data, memoryview):
            for number, value in self._fields(data):
                if isinstance(value, memoryview):
                    yield number, value

    def _fields(self, data: memoryview) -> Iterator[tuple[int, FieldValue]]:
        for item in read_fields(data):
            self.fields += 1
            if self.fields > FIELD_LIMIT:
                raise ModelFileError(f"it has more than {FIELD_LIMIT} fields")
            yield item

    def _enter(self, value: memoryview, child: str, path: tuple[str, ...]) -> None:
        if child == "Property":
            self._read_property(value)
            return
        if (*path, child) == ("Model", "Graph"):
            self.has_graph = True
        self.walk(value, child, path)

    def _read_property(self, data: memoryview) -> None:
        texts = {
            number: bytes(value)
            for number, value in self._fields(data)
            if isinstance(value, memoryview)
        }
        key = texts.get(1, b"").decode("utf-8", "replace")
        if key in self.found.metadata:
            raise ModelFileError(f"it holds the metadata key {key[:40]!r} more than once")
        self.found.metadata[key] = texts.get(2, b"")
