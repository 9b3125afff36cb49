"""The Open Inference Protocol's messages: infer requests read, responses written.

https://github.com/kserve/open-inference-protocol, version 2 over HTTP, with the binary extension.
"""

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from wgan.latents import SEED_LIMIT
from wgan.runtime.latent_sources import SeedLatents
from wgan.server.body import parse_json
from wgan.server.latents import Wanted, WantedLatents, read_truncation
from wgan.server.model_repository import Model
from wgan.server.request_error import bad_request
from wgan.server.tensors import BinaryTail, Tensor, read_parameters, read_tensor
from wgan.text import shorten

HEADER_LENGTH = "inference-header-content-length"
"""The header that gives the JSON's bytes in a body that goes on with binary tensors."""

LATENTS, SEEDS, IMAGES, PIXELS = "latents", "seeds", "images", "pixels"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Output:
    """An output that is asked for."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferRequest:
    """An infer request that has been read and found right."""

    id: str | None
    wanted: Wanted
    outputs: tuple[Output, ...]

    def asks_for(self, name: str) -> bool:
        """Whether the output `name` is asked for."""
        return any(output.name == name for output in self.outputs)


def metadata(model: Model) -> dict[str, Any]:
    """Describe a model as the protocol does; -1 is a free axis.

    A request gives one of the two inputs, not both.
    """
    height, width, channels = model.generator.image_shape
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": LATENTS, "datatype": "FP32", "shape": [-1, model.generator.latent_dim]},
            {"name": SEEDS, "datatype": "INT64", "shape": [-1]},
        ],
        "outputs": [
            {"name": IMAGES, "datatype": "FP32", "shape": [-1, channels, height, width]},
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, height, width, channels]},
        ],
    }


def read_request(body: bytes, header_length: str | None, model: Model) -> InferRequest:
    """Read the body of an infer request.

    `header_length` is the value of the header that splits a body of JSON and binary tensors. A
    parameter that is not known here is passed over: the protocol names none, and clients send
    what other servers take, Triton's `priority` for one.

    Raises:
        RequestError: it is not such a request, or does not fit the model.
    """
    size = len(body) if header_length is None else _read_length(header_length, len(body))
    content = parse_json(memoryview(body)[:size])
    tail = BinaryTail(memoryview(body)[size:])
    id = content.get("id")  # noqa: A001 - the protocol's word
    if id is not None and not isinstance(id, str):
        raise bad_request(f"the request's id is {shorten(id)}, not text")
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise bad_request(f"the request's inputs are {shorten(inputs)}; a list is needed")
    if len(inputs) > 2:
        raise bad_request(f"{len(inputs)} inputs are given: {LATENTS} or {SEEDS} is needed")
    tensors = [read_tensor(entry, tail) for entry in inputs]
    tail.finish()
    parameters = read_parameters(content, "the request")
    truncation = read_truncation(parameters.get("truncation", 1.0))
    return InferRequest(
        id, _read_wanted(tensors, model, truncation), _read_outputs(content, parameters)
    )


def _read_length(text: str, available: int) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > available:
        raise bad_request(
            f"the header Inference-Header-Content-Length is {shorten(text)}; the body has"
            f" {available} bytes"
        )
    return int(text)


def _read_wanted(tensors: list[Tensor], model: Model, truncation: float) -> Wanted:
    if len(tensors) != 1:
        raise bad_request(f"{LATENTS} and {SEEDS} are both given: give one of them")
    tensor = tensors[0]
    latent_dim = model.generator.latent_dim
    if tensor.name == LATENTS:
        return WantedLatents(_check_latents(tensor, latent_dim), truncation)
    if tensor.name == SEEDS:
        return SeedLatents(truncation, _check_seeds(tensor), latent_dim)
    raise bad_request(
        f"there is no input {shorten(tensor.name)}: model {model.name} has {LATENTS} and {SEEDS}"
    )


def _check_latents(tensor: Tensor, latent_dim: int) -> npt.NDArray[np.float32]:
    values = tensor.values
    if tensor.datatype != "FP32" or values.ndim != 2 or values.shape[1] != latent_dim:
        raise bad_request(
            f"input {LATENTS} is {tensor.datatype} {list(values.shape)};"
            f" FP32 [n, {latent_dim}] is needed"
        )
    if not np.isfinite(values).all():
        raise bad_request(f"input {LATENTS} holds a value that is not finite")
    return values


def _check_seeds(tensor: Tensor) -> list[int]:
    values = tensor.values
    if tensor.datatype not in ("INT64", "UINT32") or values.ndim != 1:
        raise bad_request(
            f"input {SEEDS} is {tensor.datatype} {list(values.shape)};"
            " INT64 or UINT32 [n] is needed"
        )
    if len(values) and not 0 <= values.min() <= values.max() < SEED_LIMIT:
        raise bad_request(f"input {SEEDS} holds a number outside 0 to {SEED_LIMIT - 1}")
    seeds: list[int] = values.tolist()
    return seeds


def _read_outputs(content: dict[str, Any], parameters: dict[str, Any]) -> tuple[Output, ...]:
    binary = _read_flag(parameters, "binary_data_output", default=False)
    entries = content.get("outputs")
    if entries is None or entries == []:  # the protocol: all outputs
        return Output(IMAGES, binary), Output(PIXELS, binary)
    if not isinstance(entries, list):
        raise bad_request(f"the request's outputs are {shorten(entries)}, not a list")
    outputs = tuple(_read_output(entry, binary) for entry in entries)
    if len({output.name for output in outputs}) != len(outputs):
        raise bad_request("an output is asked for twice")
    return outputs


def _read_output(entry: object, binary: bool) -> Output:
    if not isinstance(entry, dict) or entry.get("name") not in (IMAGES, PIXELS):
        raise bad_request(
            f"the output {shorten(entry)} is not known: {IMAGES} and {PIXELS} can be asked for"
        )
    name = entry["name"]
    parameters = read_parameters(entry, f"output {name}")
    if "classification" in parameters:
        raise bad_request(f"output {name} cannot be classified: it is images")
    return Output(name, _read_flag(parameters, "binary_data", default=binary))


def _read_flag(parameters: dict[str, Any], key: str, *, default: bool) -> bool:
    value = parameters.get(key, default)
    if not isinstance(value, bool):
        raise bad_request(f"parameter {key} is {shorten(value)}: true or false is allowed")
    return value


async def write_response(
    request: InferRequest, arrays: dict[str, Array], model: Model
) -> tuple[list[bytes | memoryview], int | None]:
    """Write the response's body in pieces, and the JSON's bytes when binary tensors follow it."""
    head = {"model_name": model.name, "model_version": model.version}
    if request.id is not None:
        head["id"] = request.id
    pieces = [orjson.dumps(head)[:-1] + b',"outputs":[']
    tail: list[bytes | memoryview] = []
    for number, output in enumerate(request.outputs):
        array = np.ascontiguousarray(arrays[output.name])
        pieces.append(b"," if number else b"")
        pieces += await _write_tensor(output, array)
        if output.binary:
            tail.append(array.data.cast("B"))
    pieces.append(b"]}")
    header = b"".join(pieces)
    return [header, *tail], len(header) if tail else None


async def _write_tensor(output: Output, array: Array) -> list[bytes]:
    fields: dict[str, Any] = {
        "name": output.name,
        "shape": list(array.shape),
        "datatype": "FP32" if array.dtype == np.float32 else "UINT8",
    }
    if output.binary:
        return [orjson.dumps({**fields, "parameters": {"binary_data_size": array.nbytes}})]
    pieces = [orjson.dumps(fields)[:-1] + b',"data":[']
    for number, values in enumerate(_portions(array)):
        # A portion takes about a millisecond; others may have the event loop in between.
        text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
        pieces.append((b"," if number else b"") + text[1:-1])
        await asyncio.sleep(0)
    pieces.append(b"]}")
    return pieces


def _portions(array: Array, size: int = 2**15) -> Iterator[Array]:
    flat = array.reshape(-1)
    for start in range(0, math.prod(array.shape), size):
        yield flat[start : start + size]
