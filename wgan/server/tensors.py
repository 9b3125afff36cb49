"""Tensors of the Open Inference Protocol, in JSON and in its binary extension.

A tensor is `{name, shape, datatype, parameters?, data}`; row-major, its data nested or flat. In
the binary extension `parameters.binary_data_size` stands in place of the data, and the bytes,
little-endian, follow the JSON in the order of the tensors.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.server.request_error import bad_request
from wgan.text import shorten

DATATYPES = {"FP32": "<f4", "INT64": "<i8", "UINT32": "<u4", "UINT8": "|u1"}
"""The protocol's datatypes that are spoken here, and numpy's names of them."""

MAX_AXES = 8


@dataclass(frozen=True)
class Tensor:
    """An input that has been read: `values` has the shape and the type that the client stated."""

    name: str
    datatype: str
    values: npt.NDArray[Any]


class BinaryTail:
    """The bytes after the JSON, handed out in the order of the tensors."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._used = 0

    def take(self, size: int, name: str) -> memoryview:
        """The next `size` bytes. Raises RequestError when there are fewer."""
        left = len(self._data) - self._used
        if size > left:
            raise bad_request(
                f"input {name} has a binary_data_size of {size}, and {left} bytes are left"
            )
        self._used += size
        return self._data[self._used - size : self._used]

    def finish(self) -> None:
        """Raise RequestError unless all bytes were taken."""
        left = len(self._data) - self._used
        if left:
            raise bad_request(f"the body has {left} bytes after its last tensor")


def read_tensor(content: object, tail: BinaryTail) -> Tensor:
    """Read one entry of a request's `inputs`.

    Raises:
        RequestError: a field is missing or wrong, or data and shape do not agree.
    """
    if not isinstance(content, dict):
        raise bad_request(f"an input is {shorten(content)}, not an object")
    name, datatype = content.get("name"), content.get("datatype")
    if not isinstance(name, str):
        raise bad_request(f"an input's name is {shorten(name)}, not text")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise bad_request(
            f"input {shorten(name)} has the datatype {shorten(datatype)}; known are"
            f" {', '.join(DATATYPES)}"
        )
    shape = _read_shape(content.get("shape"), name)
    parameters = read_parameters(content, f"input {shorten(name)}")
    if "binary_data_size" in parameters:
        if "data" in content:
            raise bad_request(f"input {shorten(name)} has both data and binary_data_size")
        values = _read_binary(parameters["binary_data_size"], shape, datatype, name, tail)
    else:
        values = _read_json(content.get("data"), shape, datatype, name)
    return Tensor(name, datatype, values)


def read_parameters(content: dict[str, Any], of: str) -> dict[str, str | int | float | bool]:
    """Read an object's `parameters`: a flat map of texts, numbers and booleans.

    Raises:
        RequestError: it is something else, or asks for shared memory, which is not there.
    """
    parameters = content.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise bad_request(f"the parameters of {of} are {shorten(parameters)}, not an object")
    for key, value in parameters.items():
        if not isinstance(value, str | int | float | bool):
            raise bad_request(
                f"parameter {shorten(key)} of {of} is {shorten(value)}: text, a number or a"
                " boolean is allowed"
            )
        if key.startswith("shared_memory"):
            raise bad_request(f"parameter {shorten(key)} of {of}: there is no shared memory here")
    return parameters


def _read_shape(shape: object, name: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_AXES:
        raise bad_request(
            f"input {shorten(name)} has the shape {shorten(shape)}; a list of 1 to {MAX_AXES}"
            " numbers is allowed"
        )
    for axis in shape:
        if type(axis) is not int or axis < 0:
            raise bad_request(
                f"input {shorten(name)} has the shape {shorten(shape)}; each axis is a whole"
                " number, 0 or greater"
            )
    return tuple(shape)


def _read_binary(
    size: object, shape: tuple[int, ...], datatype: str, name: str, tail: BinaryTail
) -> npt.NDArray[Any]:
    if type(size) is not int or size < 0:
        raise bad_request(f"input {shorten(name)} has a binary_data_size of {shorten(size)}")
    dtype = np.dtype(DATATYPES[datatype])
    expected = math.prod(shape) * dtype.itemsize  # of any size: Python's numbers do not overflow
    if size != expected:
        raise bad_request(
            f"input {shorten(name)} has a binary_data_size of {size}; {datatype} of shape"
            f" {shorten(list(shape))} takes {shorten(expected)}"
        )
    return np.frombuffer(tail.take(size, shorten(name)), dtype).reshape(shape)


def _read_json(data: object, shape: tuple[int, ...], datatype: str, name: str) -> npt.NDArray[Any]:
    if not isinstance(data, list):
        raise bad_request(f"input {shorten(name)} has the data {shorten(data)}, not a list")
    flat = _flatten(data, shape, name)
    if len(flat) != math.prod(shape):
        raise bad_request(
            f"input {shorten(name)} has {len(flat)} values; its shape {shorten(list(shape))} takes"
            f" {shorten(math.prod(shape))}"
        )
    return _convert(flat, datatype, name).reshape(shape)


def _flatten(data: list[Any], shape: tuple[int, ...], name: str) -> list[Any]:
    """Undo the nesting, which must be that of `shape` where there is any."""
    if not data or not isinstance(data[0], list):
        return data
    found = [len(data)]
    while data and isinstance(data[0], list):
        lengths = {len(row) if isinstance(row, list) else -1 for row in data}
        if len(lengths) != 1 or -1 in lengths or len(found) >= len(shape):
            raise bad_request(f"the data of input {shorten(name)} is not nested as its shape")
        found.append(lengths.pop())
        data = list(itertools.chain.from_iterable(data))
    if tuple(found) != shape:
        raise bad_request(
            f"the data of input {shorten(name)} is nested as {shorten(found)}, its shape is"
            f" {shorten(list(shape))}"
        )
    return data


def _convert(flat: list[Any], datatype: str, name: str) -> npt.NDArray[Any]:
    dtype = np.dtype(DATATYPES[datatype])
    allowed = {int, float} if dtype.kind == "f" else {int}
    if not set(map(type, flat)) <= allowed:
        wrong = next(value for value in flat if type(value) not in allowed)
        raise bad_request(f"input {shorten(name)} holds {shorten(wrong)}, which is not {datatype}")
    low, high = _range(dtype)
    if flat and (max(flat) > high or min(flat) < low):
        raise bad_request(f"input {shorten(name)} holds a number beyond the range of {datatype}")
    return np.array(flat, dtype)


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the greatest number; Python's own, with which any other can be compared."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
