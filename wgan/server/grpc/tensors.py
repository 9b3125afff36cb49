"""Infer requests and responses as protobuf messages, to and from arrays.

A tensor's values are raw bytes, row-major and little-endian, in `raw_input_contents` and
`raw_output_contents`, or numbers in the field of `contents` for its datatype.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from wgan.runtime.latent_sources import LatentSource
from wgan.server.batcher import Outputs
from wgan.server.bodies import parse_values
from wgan.server.grpc.protocol import message
from wgan.server.inference import (
    Array,
    Tensor,
    check_datatype,
    checked_parameters,
    datatype_of,
    latent_source,
    output_choices,
    output_names,
)
from wgan.server.messages import DATATYPES, InferInput, InferParameters, InferRequest, bad_request
from wgan.server.model_repository import Model
from wgan.text import shorten

_CONTENTS = {
    "FP32": "fp32_contents",
    "INT64": "int64_contents",
    "UINT32": "uint_contents",
    "UINT8": "uint_contents",
}
"""Datatype -> the field of InferTensorContents that holds its values."""

_InferResponse = message("inference.ModelInferResponse")


def parse_infer(request: Any, model: Model) -> tuple[LatentSource, tuple[str, ...], bool]:
    """Parse a ModelInferRequest.

    Returns its latents and labels, the names of the requested outputs, and whether they are sent
    as raw bytes.

    Raises:
        RequestError: the request is not valid, or does not fit the model.
    """
    content = parse_values(_content(request), InferRequest, "the request")
    given = {"binary_data_output": True} | checked_parameters(content.parameters, "the request")
    parameters = parse_values(given, InferParameters, "parameters")
    source = latent_source(_read_tensors(content.inputs, request), model, parameters.truncation)
    choices = output_choices(content.outputs, parameters.binary_data_output, output_names(model))
    raw = set(choices.values())
    if len(raw) > 1:
        raise bad_request("binary_data differs between the outputs: gRPC sends all or none as raw")
    return source, tuple(choices), raw.pop()


def infer_response(model: Model, request_id: str, outputs: Outputs, raw: bool) -> Any:
    """Make the ModelInferResponse with these outputs."""
    response: Any = _InferResponse(
        model_name=model.info.name, model_version=model.info.version, id=request_id
    )
    for name, array in outputs.items():
        datatype = datatype_of(array)
        tensor = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            response.raw_output_contents.append(np.ascontiguousarray(array).tobytes())
        else:
            getattr(tensor.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
    return response


def _content(request: Any) -> dict[str, Any]:
    """The request without its values, as it is in JSON: both are validated in the same way."""
    return {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": _parameters(tensor.parameters),
            }
            for tensor in request.inputs
        ],
        "outputs": [
            {"name": output.name, "parameters": _parameters(output.parameters)}
            for output in request.outputs
        ],
        "parameters": _parameters(request.parameters),
    }


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The set ones of a map of InferParameter."""
    chosen = {name: each.WhichOneof("parameter_choice") for name, each in given.items()}
    return {name: getattr(given[name], field) for name, field in chosen.items() if field}


def _read_tensors(inputs: list[InferInput], request: Any) -> dict[str, Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(inputs):
        raise bad_request(
            f"raw_input_contents has {len(raw)} tensors, and there are {len(inputs)} inputs"
        )
    tensors: dict[str, Tensor] = {}
    for number, (entry, given) in enumerate(zip(inputs, request.inputs, strict=True)):
        name = shorten(entry.name)
        if entry.name in tensors:
            raise bad_request(f"input {name} is given twice")
        check_datatype(entry.datatype, name)
        checked_parameters(entry.parameters, f"input {name}")
        if raw and given.HasField("contents"):
            raise bad_request(f"input {name} has both contents and raw_input_contents")
        values = _read_raw(raw[number], entry, name) if raw else _read(given, entry, name)
        tensors[entry.name] = Tensor(entry.datatype, values)
    return tensors


def _read_raw(data: bytes, entry: InferInput, name: str) -> Array:
    dtype = np.dtype(DATATYPES[entry.datatype])
    size = math.prod(entry.shape) * dtype.itemsize  # Python integers do not overflow
    if len(data) != size:
        raise bad_request(
            f"input {name} has {len(data)} bytes; {entry.datatype} of shape"
            f" {shorten(entry.shape)} needs {shorten(size)}"
        )
    return np.frombuffer(data, dtype).reshape(entry.shape)


def _read(given: Any, entry: InferInput, name: str) -> Array:
    field = _CONTENTS[entry.datatype]
    values = getattr(given.contents, field)
    count = math.prod(entry.shape)
    if len(values) != count:
        raise bad_request(
            f"input {name} has {len(values)} values in {field}; its shape"
            f" {shorten(entry.shape)} needs {shorten(count)}"
        )
    dtype = np.dtype(DATATYPES[entry.datatype])
    if dtype.kind == "u" and count and max(values) > np.iinfo(dtype).max:
        raise bad_request(f"input {name} holds a number beyond the range of {entry.datatype}")
    return np.array(values, dtype).reshape(entry.shape)
