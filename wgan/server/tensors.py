"""Tensors of the Open Inference Protocol, in JSON and in its binary extension.

Data is row-major. In JSON it is nested as the shape, or flat. In the binary extension
`parameters.binary_data_size` replaces it, and the bytes, little-endian, follow the JSON in the
order of the tensors.
"""

import asyncio
import itertools
import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from wgan.server.messages import (
    DATATYPES,
    InferInput,
    OutputTensor,
    Parameters,
    bad_request,
)
from wgan.text import shorten

Array = npt.NDArray[Any]

_CHUNK = 2**15
"""Values converted to JSON at once: about a millisecond."""


class BinaryTail:
    """The bytes after the JSON, consumed in the order of the tensors."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._used = 0

    def take(self, size: int, name: str) -> memoryview:
        """Return the next `size` bytes. Raises RequestError if there are fewer."""
        left = len(self._data) - self._used
        if size > left:
            raise bad_request(
                f"input {name} has a binary_data_size of {size}, and {left} bytes are left"
            )
        self._used += size
        return self._data[self._used - size : self._used]

    def finish(self) -> None:
        """Raise RequestError unless all bytes were consumed."""
        left = len(self._data) - self._used
        if left:
            raise bad_request(f"the body has {left} bytes after its last tensor")


def read_tensor(tensor: InferInput, tail: BinaryTail) -> Array:
    """Return the values of an input, in its shape and datatype.

    Raises:
        RequestError: the datatype is not supported, or data and shape do not agree.
    """
    name, shape = shorten(tensor.name), tuple(tensor.shape)
    if tensor.datatype not in DATATYPES:
        raise bad_request(
            f"input {name} has the datatype {shorten(tensor.datatype)}; supported are"
            f" {', '.join(DATATYPES)}"
        )
    parameters = checked_parameters(tensor.parameters, f"input {name}")
    if "binary_data_size" not in parameters:
        return _read_json(tensor.data, shape, tensor.datatype, name)
    if tensor.data is not None:
        raise bad_request(f"input {name} has both data and binary_data_size")
    return _read_binary(parameters["binary_data_size"], shape, tensor.datatype, name, tail)


def checked_parameters(parameters: Parameters | None, owner: str) -> Parameters:
    """Return an object's parameters. Raises RequestError if they ask for shared memory."""
    for key in parameters or {}:
        if key.startswith("shared_memory"):
            raise bad_request(
                f"parameter {shorten(key)} of {owner} is not allowed: shared memory is not"
                " supported"
            )
    return parameters or {}


def _read_binary(
    size: object, shape: tuple[int, ...], datatype: str, name: str, tail: BinaryTail
) -> Array:
    if type(size) is not int or size < 0:  # type: not bool, nor 16.0
        raise bad_request(f"input {name} has a binary_data_size of {shorten(size)}")
    dtype = np.dtype(DATATYPES[datatype])
    expected = math.prod(shape) * dtype.itemsize  # Python integers do not overflow
    if size != expected:
        raise bad_request(
            f"input {name} has a binary_data_size of {shorten(size)}; {datatype} of shape"
            f" {shorten(list(shape))} needs {shorten(expected)}"
        )
    return np.frombuffer(tail.take(size, name), dtype).reshape(shape)


def _read_json(data: list[Any] | None, shape: tuple[int, ...], datatype: str, name: str) -> Array:
    if data is None:
        raise bad_request(f"input {name} has no data")
    flat = _flatten(data, shape, name)
    if len(flat) != math.prod(shape):
        raise bad_request(
            f"input {name} has {len(flat)} values; its shape {shorten(list(shape))} needs"
            f" {shorten(math.prod(shape))}"
        )
    return _convert(flat, datatype, name).reshape(shape)


def _flatten(data: list[Any], shape: tuple[int, ...], name: str) -> list[Any]:
    """Flatten nested data, whose nesting must be that of `shape`; flat data is returned."""
    if not data or not isinstance(data[0], list):
        return data
    found = [len(data)]
    while data and isinstance(data[0], list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in data}
        if len(lengths) != 1 or -1 in lengths or len(found) >= len(shape):
            raise bad_request(f"the data of input {name} is not nested as its shape")
        found.append(lengths.pop())
        data = list(itertools.chain.from_iterable(data))
    if tuple(found) != shape:
        raise bad_request(
            f"the data of input {name} is nested as {shorten(found)}, its shape is"
            f" {shorten(list(shape))}"
        )
    return data


def _convert(flat: list[Any], datatype: str, name: str) -> Array:
    dtype = np.dtype(DATATYPES[datatype])
    allowed = {int, float} if dtype.kind == "f" else {int}
    if not set(map(type, flat)) <= allowed:
        wrong = next(value for value in flat if type(value) not in allowed)
        raise bad_request(f"input {name} holds {shorten(wrong)}, which is not {datatype}")
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    number = float if dtype.kind == "f" else int  # Python's own compare with integers of any size
    if flat and (max(flat) > number(info.max) or min(flat) < number(info.min)):
        raise bad_request(f"input {name} holds a number beyond the range of {datatype}")
    return np.array(flat, dtype)


def binary_tensor(name: str, array: Array) -> OutputTensor:
    """Describe an output whose bytes follow the JSON."""
    return OutputTensor(
        name, list(array.shape), _datatype(array), {"binary_data_size": array.nbytes}
    )


async def json_tensor(name: str, array: Array) -> OutputTensor:
    """Describe an output with its values as JSON."""
    flat = array.reshape(-1)
    chunks = []
    for start in range(0, flat.size, _CHUNK):
        # orjson reads the array itself and writes float32 in its shortest form: msgspec, by way
        # of a list of doubles, needs 1.8 times the bytes and 2.5 times the time.
        text = orjson.dumps(flat[start : start + _CHUNK], option=orjson.OPT_SERIALIZE_NUMPY)
        chunks.append(text[1:-1])
        await asyncio.sleep(0)  # other requests may use the event loop between two chunks
    data = msgspec.Raw(b"[" + b",".join(chunks) + b"]")
    return OutputTensor(name, list(array.shape), _datatype(array), data=data)


def _datatype(array: Array) -> str:
    return "FP32" if array.dtype == np.float32 else "UINT8"
