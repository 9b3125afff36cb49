"""The Open Inference Protocol, under `/v2`.

https://github.com/kserve/open-inference-protocol, version 2 over HTTP, with the binary extension.
Tensor data is row-major. In JSON it is nested as the shape, or flat. In the binary extension
`parameters.binary_data_size` replaces it, and the bytes, little-endian, follow the JSON.
"""

import asyncio
import itertools
import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from wgan import __version__
from wgan.model_file import PIXELS
from wgan.runtime.latent_sources import LatentSource
from wgan.server.batcher import Scheduler
from wgan.server.bodies import (
    Chunk,
    compressed,
    json_response,
    parse_json,
    parse_values,
    read_body,
)
from wgan.server.config import ServeConfig
from wgan.server.inference import (
    Array,
    Tensor,
    check_datatype,
    checked_parameters,
    datatype_of,
    describe,
    latent_source,
    output_choices,
    output_names,
)
from wgan.server.messages import (
    DATATYPES,
    SEEDS,
    Health,
    InferInput,
    InferParameters,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    OutputTensor,
    ServerMetadata,
    bad_request,
)
from wgan.server.model_repository import Model, ModelRepository
from wgan.server.openapi import Endpoint
from wgan.text import shorten

_CHUNK = 2**15
"""Values converted to JSON at once: about a millisecond."""

HEADER_LENGTH = "inference-header-content-length"
"""Header with the JSON's size in a body that continues with binary tensors."""

_EXAMPLE = {
    "inputs": [{"name": SEEDS, "datatype": "INT64", "shape": [2], "data": [1, 2]}],
    "outputs": [{"name": PIXELS}],
}


@dataclass(frozen=True)
class OipRoutes:
    """Handlers of the protocol's addresses."""

    repository: ModelRepository
    scheduler: Scheduler
    config: ServeConfig

    def endpoints(self) -> list[Endpoint]:
        """All addresses; with a version, only the model's own version is found."""
        bases = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        health = {200: Health, 503: Health}
        model_ready = {200: ModelReady, 503: ModelReady}
        return [
            # Routes are tried in order: the most used first.
            *(
                Endpoint(
                    f"{base}/infer", self.infer, "oip", {200: InferResponse},
                    body=InferRequest, example=_EXAMPLE,
                )
                for base in bases
            ),
            *(
                Endpoint(f"{base}/ready", self.model_ready, "oip", model_ready)
                for base in bases
            ),
            *(Endpoint(base, self.model, "oip", {200: ModelMetadata}) for base in bases),
            Endpoint("/v2", self.server, "oip", {200: ServerMetadata}),
            Endpoint("/v2/health/live", self.live, "oip", health, public=True),
            Endpoint("/v2/health/ready", self.ready, "oip", health, public=True),
        ]  # fmt: skip

    async def server(self, request: Request) -> Response:
        """Name, version and extensions of the server."""
        return json_response(ServerMetadata("wgan", __version__, ["binary_tensor_data"]))

    async def live(self, request: Request) -> Response:
        """Whether the server responds."""
        return json_response(Health(live=True, ready=self.repository.ready))

    async def ready(self, request: Request) -> Response:
        """Whether every model is ready."""
        ready = self.repository.ready
        return json_response(Health(live=True, ready=ready), 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """Inputs and outputs of a model."""
        return json_response(describe(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model is ready."""
        name = request.path_params["model"]
        ready = self.repository.is_ready(name, request.path_params.get("version"))
        return json_response(ModelReady(name, ready), 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Generate images from seeds or from latents, and from labels for a model with classes."""
        self._find(request)  # refuses an unknown model before the body is read
        body = await read_body(request, self.config.max_body)
        model = self._find(request)  # again: it may have been replaced meanwhile
        header_length = request.headers.get(HEADER_LENGTH)
        infer, source, binary = parse_infer(body, header_length, model)
        outputs = await self.scheduler.generate(request.scope, model.batcher, source, binary)
        tensors = []
        tail: list[Chunk] = []
        for name, is_binary in binary.items():
            array = np.ascontiguousarray(outputs[name])
            if is_binary:
                size = {"binary_data_size": array.nbytes}
                tensors.append(_output_tensor(name, array, parameters=size))
                tail.append(array.data.cast("B"))
            else:
                tensors.append(_output_tensor(name, array, data=await _to_json(array)))
        infer_id = msgspec.UNSET if infer.id is None else infer.id
        response = InferResponse(model.info.name, model.info.version, tensors, infer_id)
        header = msgspec.json.encode(response)
        if not tail:
            return await compressed(request, [header], {"content-type": "application/json"})
        headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
        return await compressed(request, [header, *tail], headers)

    def _find(self, request: Request) -> Model:
        return self.repository.find(
            request.path_params["model"], request.path_params.get("version")
        )


def parse_infer(
    body: bytes, header_length: str | None, model: Model
) -> tuple[InferRequest, LatentSource, dict[str, bool]]:
    """Parse the body of an infer request.

    Returns the request, its latents and labels, and the names of the requested outputs with whether
    each is sent as binary. `header_length` is the value of the header that splits JSON and binary
    tensors.

    Raises:
        RequestError: the request is not valid, or does not fit the model.
    """
    size = len(body)
    if header_length is not None:
        if not re.fullmatch(r"[0-9]{1,15}", header_length) or int(header_length) > size:
            raise bad_request(
                f"the header Inference-Header-Content-Length is {shorten(header_length)}; the body"
                f" has {size} bytes"
            )
        size = int(header_length)
    request = parse_json(memoryview(body)[:size], InferRequest)
    tensors = _read_tensors(request.inputs, memoryview(body)[size:])
    given = checked_parameters(request.parameters, "the request")
    parameters = parse_values(given, InferParameters, "parameters")
    source = latent_source(tensors, model, parameters.truncation)
    choices = output_choices(request.outputs, parameters.binary_data_output, output_names(model))
    return request, source, choices


def _read_tensors(inputs: list[InferInput], tail: memoryview) -> dict[str, Tensor]:
    """Return the inputs by name; `tail` holds the bytes that follow the JSON."""
    tensors: dict[str, Tensor] = {}
    for entry in inputs:
        if entry.name in tensors:
            raise bad_request(f"input {shorten(entry.name)} is given twice")
        values, size = _read_tensor(entry, tail)
        tensors[entry.name] = Tensor(entry.datatype, values)
        tail = tail[size:]
    if len(tail):
        raise bad_request(f"the body has {len(tail)} bytes after its last tensor")
    return tensors


def _read_tensor(tensor: InferInput, tail: memoryview) -> tuple[Array, int]:
    """Return the values of an input, and how many bytes of `tail` they take."""
    name, shape, datatype = shorten(tensor.name), tuple(tensor.shape), tensor.datatype
    check_datatype(datatype, name)
    parameters = checked_parameters(tensor.parameters, f"input {name}")
    if "binary_data_size" not in parameters:
        return _read_json(tensor.data, shape, datatype, name), 0
    if tensor.data is not None:
        raise bad_request(f"input {name} has both data and binary_data_size")
    given = parameters["binary_data_size"]
    dtype = np.dtype(DATATYPES[datatype])
    size = math.prod(shape) * dtype.itemsize  # Python integers do not overflow
    if type(given) is not int or given != size:  # type: not bool, nor 16.0
        raise bad_request(
            f"input {name} has a binary_data_size of {shorten(given)}; {datatype} of shape"
            f" {shorten(list(shape))} needs {shorten(size)}"
        )
    if size > len(tail):
        raise bad_request(
            f"input {name} has a binary_data_size of {size}, and {len(tail)} bytes are left"
        )
    return np.frombuffer(tail[:size], dtype).reshape(shape), size


def _read_json(data: list[Any] | None, shape: tuple[int, ...], datatype: str, name: str) -> Array:
    if data is None:
        raise bad_request(f"input {name} has no data")
    flat = _flatten(data, shape, name)
    if len(flat) != math.prod(shape):
        raise bad_request(
            f"input {name} has {len(flat)} values; its shape {shorten(list(shape))} needs"
            f" {shorten(math.prod(shape))}"
        )
    dtype = np.dtype(DATATYPES[datatype])
    allowed = {int, float} if dtype.kind == "f" else {int}
    if not set(map(type, flat)) <= allowed:
        wrong = next(value for value in flat if type(value) not in allowed)
        raise bad_request(f"input {name} holds {shorten(wrong)}, which is not {datatype}")
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    number = float if dtype.kind == "f" else int  # Python's own compare with integers of any size
    if flat and (max(flat) > number(info.max) or min(flat) < number(info.min)):
        raise bad_request(f"input {name} holds a number beyond the range of {datatype}")
    return np.array(flat, dtype).reshape(shape)


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


async def _to_json(array: Array) -> msgspec.Raw:
    flat = array.reshape(-1)
    chunks = []
    for start in range(0, flat.size, _CHUNK):
        # orjson reads the array itself and writes float32 in its shortest form: msgspec, by way
        # of a list of doubles, needs 1.8 times the bytes and 2.5 times the time.
        text = orjson.dumps(flat[start : start + _CHUNK], option=orjson.OPT_SERIALIZE_NUMPY)
        chunks.append(text[1:-1])
        await asyncio.sleep(0)  # other requests may use the event loop between two chunks
    return msgspec.Raw(b"[" + b",".join(chunks) + b"]")


def _output_tensor(name: str, array: Array, **content: Any) -> OutputTensor:
    return OutputTensor(name, list(array.shape), datatype_of(array), **content)
