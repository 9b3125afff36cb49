"""The Open Inference Protocol, under `/v2`.

https://github.com/kserve/open-inference-protocol, version 2 over HTTP, with the binary extension.
"""

import re
from dataclasses import dataclass

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from wgan import __version__
from wgan.latents import SEED_LIMIT
from wgan.runtime.latent_sources import SeedLatents
from wgan.server.batcher import ArrayLatents, LazyLatents
from wgan.server.body import parse_json, parse_values, read_body
from wgan.server.config import ServeConfig
from wgan.server.messages import (
    IMAGES,
    LATENTS,
    PIXELS,
    SEEDS,
    Health,
    InferInput,
    InferParameters,
    InferRequest,
    InferResponse,
    ModelMetadata,
    ModelReady,
    OutputParameters,
    RequestedOutput,
    ServerMetadata,
    TensorMetadata,
    bad_request,
)
from wgan.server.model_repository import Model, ModelRepository
from wgan.server.openapi import Endpoint
from wgan.server.responses import Chunk, compressed, json_response
from wgan.server.scheduler import Scheduler
from wgan.server.tensors import (
    Array,
    BinaryTail,
    binary_tensor,
    checked_parameters,
    json_tensor,
    read_tensor,
)
from wgan.text import shorten

HEADER_LENGTH = "inference-header-content-length"
"""Header with the JSON's size in a body that continues with binary tensors."""

EXTENSIONS = ["binary_tensor_data"]

_EXAMPLE = {
    "inputs": [{"name": SEEDS, "datatype": "INT64", "shape": [2], "data": [1, 2]}],
    "outputs": [{"name": PIXELS}],
}


class OipRoutes:
    """Handlers of the protocol's addresses."""

    def __init__(
        self, repository: ModelRepository, scheduler: Scheduler, config: ServeConfig
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._config = config

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
        return json_response(ServerMetadata("wgan", __version__, EXTENSIONS))

    async def live(self, request: Request) -> Response:
        """Whether the server responds."""
        return json_response(Health(live=True, ready=self._repository.ready))

    async def ready(self, request: Request) -> Response:
        """Whether every model is ready."""
        ready = self._repository.ready
        return json_response(Health(live=True, ready=ready), 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """Inputs and outputs of a model."""
        return json_response(metadata(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model is ready."""
        name, version = request.path_params["model"], request.path_params.get("version")
        ready = self._repository.is_ready(name, version)
        return json_response(ModelReady(name, ready), 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Generate images from seeds or from latents."""
        self._find(request)  # refuses an unknown model before the body is read
        body = await read_body(request, self._config.max_body)
        model = self._find(request)  # again: it may have been replaced meanwhile
        job = parse_infer(body, request.headers.get(HEADER_LENGTH), model)
        names = {output.name for output in job.outputs}
        outputs = await self._scheduler.generate(
            request, model, job.latents, images=IMAGES in names, pixels=PIXELS in names
        )
        arrays = {IMAGES: outputs.images, PIXELS: outputs.pixels}
        requested = {name: array for name, array in arrays.items() if array is not None}
        header, tail = await infer_response(job, requested, model)
        headers = {"content-type": "application/json"}
        if tail:
            headers = {
                "content-type": "application/octet-stream",
                HEADER_LENGTH: str(len(header)),
            }
        return await compressed(request, [header, *tail], headers)

    def _find(self, request: Request) -> Model:
        return self._repository.find(
            request.path_params["model"], request.path_params.get("version")
        )


@dataclass(frozen=True)
class OutputChoice:
    """A requested output and its form."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferJob:
    """A validated infer request."""

    id: str | None
    latents: LazyLatents
    outputs: tuple[OutputChoice, ...]


def metadata(model: Model) -> ModelMetadata:
    """Describe a model; the batch axis is free."""
    height, width, channels = model.generator.image_shape
    return ModelMetadata(
        name=model.name,
        versions=[model.version],
        platform="onnx_onnxv1",
        inputs=[
            TensorMetadata(LATENTS, "FP32", [-1, model.generator.latent_dim]),
            TensorMetadata(SEEDS, "INT64", [-1]),
        ],
        outputs=[
            TensorMetadata(IMAGES, "FP32", [-1, channels, height, width]),
            TensorMetadata(PIXELS, "UINT8", [-1, height, width, channels]),
        ],
    )


def parse_infer(body: bytes, header_length: str | None, model: Model) -> InferJob:
    """Parse the body of an infer request.

    `header_length` is the value of the header that splits JSON and binary tensors.

    Raises:
        RequestError: the request is not valid, or does not fit the model.
    """
    size = len(body) if header_length is None else _json_size(header_length, len(body))
    request = parse_json(memoryview(body)[:size], InferRequest)
    tail = BinaryTail(memoryview(body)[size:])
    if len(request.inputs) > 1:
        raise bad_request(
            f"{len(request.inputs)} inputs are given: give either {LATENTS} or {SEEDS}"
        )
    tensor = request.inputs[0]
    values = read_tensor(tensor, tail)
    tail.finish()
    parameters = parse_values(
        checked_parameters(request.parameters, "the request"), InferParameters, "parameters"
    )
    return InferJob(
        request.id,
        _latents(tensor, values, model, parameters.truncation),
        _output_choices(request.outputs, parameters.binary_data_output),
    )


def _json_size(text: str, available: int) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > available:
        raise bad_request(
            f"the header Inference-Header-Content-Length is {shorten(text)}; the body has"
            f" {available} bytes"
        )
    return int(text)


def _latents(tensor: InferInput, values: Array, model: Model, truncation: float) -> LazyLatents:
    latent_dim = model.generator.latent_dim
    given = f"{tensor.datatype} {list(values.shape)}"
    if tensor.name == LATENTS:
        if tensor.datatype != "FP32" or values.ndim != 2 or values.shape[1] != latent_dim:
            raise bad_request(f"input {LATENTS} is {given}; FP32 [n, {latent_dim}] is needed")
        if not np.isfinite(values).all():
            raise bad_request(f"input {LATENTS} holds a value that is not finite")
        return ArrayLatents(values * np.float32(truncation))
    if tensor.name == SEEDS:
        if tensor.datatype not in ("INT64", "UINT32") or values.ndim != 1:
            raise bad_request(f"input {SEEDS} is {given}; INT64 or UINT32 [n] is needed")
        if len(values) and not 0 <= values.min() <= values.max() < SEED_LIMIT:
            raise bad_request(f"input {SEEDS} holds a number outside 0 to {SEED_LIMIT - 1}")
        return SeedLatents(truncation, values.tolist(), latent_dim)
    raise bad_request(
        f"there is no input {shorten(tensor.name)}: model {model.name} has {LATENTS} and {SEEDS}"
    )


def _output_choices(
    requested: list[RequestedOutput] | None, binary: bool
) -> tuple[OutputChoice, ...]:
    if not requested:  # the protocol's default: all outputs
        return OutputChoice(IMAGES, binary), OutputChoice(PIXELS, binary)
    choices = []
    for output in requested:
        if output.name not in (IMAGES, PIXELS):
            raise bad_request(
                f"there is no output {shorten(output.name)}: there are {IMAGES} and {PIXELS}"
            )
        parameters = checked_parameters(output.parameters, f"output {output.name}")
        if "classification" in parameters:
            raise bad_request(f"output {output.name} is an image and cannot be classified")
        own = parse_values(parameters, OutputParameters, "parameters").binary_data
        choices.append(OutputChoice(output.name, binary if own is None else own))
    if len({choice.name for choice in choices}) != len(choices):
        raise bad_request("an output is requested twice")
    return tuple(choices)


async def infer_response(
    job: InferJob, arrays: dict[str, Array], model: Model
) -> tuple[bytes, list[Chunk]]:
    """Return the JSON of a response, and the binary tensors that follow it."""
    outputs = []
    tail: list[Chunk] = []
    for choice in job.outputs:
        array = np.ascontiguousarray(arrays[choice.name])
        if choice.binary:
            outputs.append(binary_tensor(choice.name, array))
            tail.append(array.data.cast("B"))
        else:
            outputs.append(await json_tensor(choice.name, array))
    request_id = msgspec.UNSET if job.id is None else job.id
    response = InferResponse(model.name, model.version, outputs, request_id)
    return msgspec.json.encode(response), tail
