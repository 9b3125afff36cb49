"""JSON requests and responses, each typed once, and the exception for an error response.

msgspec derives from these types the parser, the validation, the JSON Schema and thus the OpenAPI
document. Struct fields are in the order of the JSON that is written.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from wgan.errors import UsageError
from wgan.latents import SEED_LIMIT
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.runtime.config import STRENGTH_LIMIT, TRUNCATION_HELP, TRUNCATION_LIMIT

DATATYPES = {"FP32": "<f4", "INT64": "<i8", "UINT32": "<u4", "UINT8": "|u1"}
"""The protocol's datatypes that are supported, and NumPy's names of them."""

SEEDS = "seeds"
"""The input that replaces the graph's latents in a request; its labels are optional."""

MAX_AXES = 8

Seed = Annotated[int, Meta(ge=0, le=SEED_LIMIT - 1, description=f"0 to {SEED_LIMIT - 1}.")]
SeedRanges = Annotated[
    str, Meta(max_length=4096, description="Seeds and inclusive ranges, such as 0,1,4-6.")
]
Truncation = Annotated[float, Meta(ge=0, le=TRUNCATION_LIMIT, description=TRUNCATION_HELP)]
Strength = Annotated[float, Meta(ge=-STRENGTH_LIMIT, le=STRENGTH_LIMIT)]
StrengthList = Annotated[
    str,
    Meta(
        max_length=4096,
        description="How far to move along each of the model's directions, such as 2,0,-1.5.",
    ),
]
LabelText = Annotated[
    str,
    Meta(
        max_length=1024,
        description="A class of the model, by name or index; without it that of the seed.",
    ),
]
LabelList = Annotated[
    str,
    Meta(
        max_length=4096,
        description="Classes by name or index, one for each image, such as cat,0,3.",
    ),
]
Label = Annotated[int, Meta(ge=0)] | Annotated[str, Meta(max_length=1024)]


class Error(Struct, forbid_unknown_fields=True):
    """Every response with a status of 400 or more."""

    error: str


class RequestError(Exception):
    """Becomes a response with `status` and the body `{"error": message}`.

    Args:
        status: HTTP status, 400 or more.
        message: one sentence that names the thing, its value and what is allowed.
        reason: one word for the metrics.
        headers: further headers, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        reason: str = "bad_request",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason
        self.headers = dict(headers or {})


def bad_request(message: str) -> RequestError:
    """Return an error 400: the request itself is wrong."""
    return RequestError(400, message)


def internal_error() -> RequestError:
    """Return an error 500: a bug, whose traceback is in the log."""
    return RequestError(500, "internal server error: see the server's log", "error")


@contextmanager
def usage_errors() -> Iterator[None]:
    """Raise a UsageError inside the block as an error 400."""
    try:
        yield
    except UsageError as exc:
        raise bad_request(str(exc)) from exc


def not_found(message: str) -> RequestError:
    """Return an error 404: there is no such thing."""
    return RequestError(404, message, "not_found")


# Images, under /v1.


class ModelInfo(Struct):
    """A model; its manifest without the golden images."""

    name: str
    version: str  # the training step: clients of the protocol expect a number that grows
    sha256: str  # of the file
    provider: str
    latent_dim: int
    height: int
    width: int
    channels: int
    directions: int  # number of directions that `strengths` moves images along
    classes: list[str]  # names of the classes, by label; [] for a model without classes
    manifest: dict[str, Any] | None


class Limits(Struct):
    """Limits that a client needs to know."""

    max_images: int


class ModelList(Struct):
    """All models that are ready."""

    models: list[ModelInfo]
    limits: Limits
    version: str


class Query(Struct, kw_only=True, forbid_unknown_fields=True):
    """URL parameters of an address that takes none."""


class SeedPath(Struct):
    """The seed in an image's address."""

    seed: Seed


class ImageQuery(Query, kw_only=True):
    """URL parameters of one image."""

    truncation: Truncation = 1.0
    strengths: StrengthList = ""
    label: LabelText = ""


class GridQuery(ImageQuery, kw_only=True):
    """URL parameters of a grid."""

    seeds: SeedRanges = "0-63"
    labels: LabelList = ""


class InterpolationQuery(ImageQuery, kw_only=True):
    """URL parameters of an image between two seeds."""

    first: Seed
    second: Seed
    at: Annotated[float, Meta(ge=0, le=1, description="0: the first image, 1: the second.")] = 0.5


class SampleRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """One of: seeds; latents; first and second, with steps. With classes, a label or labels too."""

    seeds: SeedRanges | Annotated[list[Seed], Meta(min_length=1)] | UnsetType = UNSET
    latents: Annotated[list[list[float]], Meta(min_length=1)] | UnsetType = UNSET
    first: Seed | UnsetType = UNSET
    second: Seed | UnsetType = UNSET
    steps: Annotated[int, Meta(ge=2)] = 16
    truncation: Truncation = 1.0
    strengths: list[Strength] = []
    label: Label | UnsetType = UNSET
    labels: Annotated[list[Label], Meta(min_length=1)] | UnsetType = UNSET


# The Open Inference Protocol, under /v2. It names its fields.

Parameters = dict[str, str | int | float | bool]
_Name = Annotated[str, Meta(extra_json_schema={"enum": [LATENTS, SEEDS, LABELS]})]
_OutputName = Annotated[str, Meta(extra_json_schema={"enum": [IMAGES, PIXELS]})]
_Datatype = Annotated[str, Meta(extra_json_schema={"enum": list(DATATYPES)})]
_Axis = Annotated[int, Meta(ge=0, le=np.iinfo(np.int64).max)]


class ServerMetadata(Struct):
    """The server and its protocol extensions."""

    name: str
    version: str
    extensions: list[str]


class Health(Struct):
    """Liveness and readiness: some clients read `live`, others `ready`."""

    live: bool
    ready: bool


class ModelReady(Struct):
    """Readiness of a model."""

    name: str
    ready: bool


class TensorMetadata(Struct):
    """An input or output; -1 is a free axis."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """Inputs and outputs of a model; a request has latents or seeds, and may have labels."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferInput(Struct):
    """An input tensor; its data row-major, nested or flat, or in the binary extension."""

    name: _Name
    datatype: _Datatype
    shape: Annotated[list[_Axis], Meta(min_length=1, max_length=MAX_AXES)]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class RequestedOutput(Struct):
    """An output to return."""

    name: _OutputName
    parameters: Parameters | None = None


class InferRequest(Struct):
    """An infer request; unknown fields and parameters are ignored, as other servers have more."""

    inputs: Annotated[list[InferInput], Meta(min_length=1)]
    outputs: list[RequestedOutput] | None = None
    id: str | None = None
    parameters: Parameters | None = None


class InferParameters(Struct):
    """The parameters of an infer request that have a meaning here."""

    truncation: Truncation = 1.0
    binary_data_output: bool = False


class OutputParameters(Struct):
    """The parameters of a requested output that have a meaning here."""

    binary_data: bool | None = None


class OutputTensor(Struct, omit_defaults=True):
    """An output tensor; in the binary extension `parameters.binary_data_size` replaces `data`."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, int] | UnsetType = UNSET
    data: Annotated[Raw, Meta(extra_json_schema={"type": "array"})] | UnsetType = UNSET


class InferResponse(Struct, omit_defaults=True):
    """An infer response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str | UnsetType = UNSET
