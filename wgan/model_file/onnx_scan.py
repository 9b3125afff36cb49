"""A scan of an ONNX file's bytes before ONNX Runtime opens them.

A model file may come from a stranger, and ONNX lets a tensor read its values from another file:
among the initializers, in a node's attributes, in the subgraphs of an `If`, in functions. The scan
visits every place that can hold a tensor and refuses external data, with the standard library only.
The field numbers are those of `onnx.proto` (ONNX 1.23, IR version 13).
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wgan.errors import ModelFileError
from wgan.model_file.protobuf import FieldValue, WireError, read_fields

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

_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14


@dataclass(frozen=True)
class Producer:
    """The node that computes a value."""

    operator: str
    source: str | None  # its first input


@dataclass(frozen=True)
class OnnxFile:
    """The parts of a scanned file that wgan uses; the file is safe for ONNX Runtime to open."""

    metadata: Mapping[str, bytes]  # the file's metadata, `wgan.manifest` among it
    producers: Mapping[str, Producer]  # value -> the node of the main graph that computes it


def scan(data: bytes | mmap.mmap) -> OnnxFile:
    """Scan an ONNX file's bytes.

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
    return OnnxFile(scanner.metadata, scanner.producers)


@dataclass
class _Scanner:
    metadata: dict[str, bytes] = field(default_factory=dict)
    producers: dict[str, Producer] = field(default_factory=dict)
    has_graph: bool = False
    fields: int = 0

    def walk(self, data: memoryview, message: str, path: tuple[str, ...]) -> None:
        """Visit `message`, whose parents are `path`, and every message below it."""
        if len(path) > DEPTH_LIMIT:
            raise ModelFileError(f"it nests more than {DEPTH_LIMIT} messages deep")
        children = _CHILDREN[message]
        node = _Node()
        for number, value in self._fields(data):
            if message == "Tensor":
                _refuse_external_data(number, value)
            elif message == "Node":
                node.read(number, value)
            child = children.get(number)
            if child is not None and isinstance(value, memoryview):
                self._enter(value, child, (*path, message))
        if message == "Node":
            _refuse_other_files(node)
            if path == ("Model", "Graph"):  # not a subgraph or a function
                producer = Producer(node.operator, next(iter(node.inputs), None))
                self.producers.update(dict.fromkeys(node.outputs, producer))

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
        if key in self.metadata:
            raise ModelFileError(f"it holds the metadata key {key[:40]!r} more than once")
        self.metadata[key] = texts.get(2, b"")


@dataclass
class _Node:
    """A node's operator, inputs and outputs."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def read(self, number: int, value: FieldValue) -> None:
        if not isinstance(value, memoryview):
            return
        if number == 1:
            self.inputs.append(_text(value))
        elif number == 2:
            self.outputs.append(_text(value))
        elif number == 4:
            self.operator = _text(value)


def _refuse_external_data(number: int, value: FieldValue) -> None:
    if number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0):
        raise ModelFileError(
            "its weights are in another file (external data), which wgan never reads: save the"
            " model as one file"
        )


def _refuse_other_files(node: _Node) -> None:
    # An attribute of EPContext names a compiled engine: a file that some providers open.
    if node.operator == "EPContext":
        raise ModelFileError(
            "it holds an EPContext node, which loads a compiled engine: export it without one"
        )


def _text(value: memoryview) -> str:
    return bytes(value[:1000]).decode("utf-8", "replace")
