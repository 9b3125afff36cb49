"""What an infer request of the Open Inference Protocol means, over HTTP and over gRPC.

The inputs are `latents` or `seeds`, with `labels` for a model with classes; the outputs `images`
and `pixels`. `oip` and `wgan.server.grpc` turn their messages into these tensors and back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.image_shape import PIXEL_CHANNELS
from wgan.latents import SEED_LIMIT
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.runtime.labels import Labelling
from wgan.runtime.latent_sources import LatentSource, RowLatents, SeedLatents
from wgan.server.bodies import parse_values
from wgan.server.messages import (
    DATATYPES,
    SEEDS,
    ModelMetadata,
    OutputParameters,
    Parameters,
    RequestedOutput,
    TensorMetadata,
    bad_request,
)
from wgan.server.model_repository import Model
from wgan.text import shorten

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """The values of an input."""

    datatype: str
    values: Array

    def __str__(self) -> str:
        return f"{self.datatype} {list(self.values.shape)}"


def describe(model: Model) -> ModelMetadata:
    """Inputs and outputs of a model."""
    dim = model.generator.latent_dim
    height, width, channels = model.generator.image_shape
    outputs = [
        TensorMetadata(IMAGES, "FP32", [-1, channels, height, width]),
        TensorMetadata(PIXELS, "UINT8", [-1, height, width, channels]),
    ]
    labels = [TensorMetadata(LABELS, "INT64", [-1])] if model.generator.classes else []
    return ModelMetadata(
        name=model.info.name,
        versions=[model.info.version],
        platform="onnx_onnxv1",
        inputs=[
            TensorMetadata(LATENTS, "FP32", [-1, dim]),
            TensorMetadata(SEEDS, "INT64", [-1]),
            *labels,
        ],
        outputs=[each for each in outputs if each.name in output_names(model)],
    )


def latent_source(tensors: dict[str, Tensor], model: Model, truncation: float) -> LatentSource:
    """Return the latents and labels that the inputs ask for. Raises RequestError."""
    latent_dim, classes = model.generator.latent_dim, model.generator.classes
    known = [LATENTS, SEEDS, *([LABELS] if classes else [])]
    for name in tensors:
        if name not in known:
            raise bad_request(
                f"there is no input {shorten(name)}: model {model.info.name} has"
                f" {', '.join(known[:-1])} and {known[-1]}"
            )
    if (LATENTS in tensors) == (SEEDS in tensors):
        raise bad_request(f"the inputs are {', '.join(tensors)}: give either {LATENTS} or {SEEDS}")
    if LATENTS in tensors:
        rows = _latents(tensors[LATENTS], latent_dim)
        labelling = _labelling(tensors.get(LABELS), classes, len(rows))
        return RowLatents(truncation, rows, labelling=labelling)
    seeds = _seeds(tensors[SEEDS])
    labelling = _labelling(tensors.get(LABELS), classes, len(seeds))
    return SeedLatents(truncation, seeds, latent_dim, labelling=labelling)


def _latents(tensor: Tensor, latent_dim: int) -> Array:
    values = tensor.values
    if tensor.datatype != "FP32" or values.ndim != 2 or values.shape[1] != latent_dim:
        raise bad_request(f"input {LATENTS} is {tensor}; FP32 [n, {latent_dim}] is needed")
    if not np.isfinite(values).all():
        raise bad_request(f"input {LATENTS} holds a value that is not finite")
    return values


def _seeds(tensor: Tensor) -> list[int]:
    values = tensor.values
    if tensor.datatype not in ("INT64", "UINT32") or values.ndim != 1:
        raise bad_request(f"input {SEEDS} is {tensor}; INT64 or UINT32 [n] is needed")
    if len(values) and not 0 <= values.min() <= values.max() < SEED_LIMIT:
        raise bad_request(f"input {SEEDS} holds a number outside 0 to {SEED_LIMIT - 1}")
    seeds: list[int] = values.tolist()
    return seeds


def _labelling(tensor: Tensor | None, classes: tuple[str, ...], count: int) -> Labelling | None:
    """The labels of `count` images; without the input, those of the seeds or of the rows."""
    if tensor is None:
        return Labelling(classes) if classes else None
    if tensor.datatype not in ("INT64", "UINT32") or tensor.values.shape != (count,):
        raise bad_request(f"input {LABELS} is {tensor}; INT64 or UINT32 [{count}] is needed")
    if count and not 0 <= tensor.values.min() <= tensor.values.max() < len(classes):
        raise bad_request(f"input {LABELS} holds a number outside 0 to {len(classes) - 1}")
    return Labelling(classes, tuple(tensor.values.tolist()))


def output_names(model: Model) -> tuple[str, ...]:
    """The outputs of a model: pixels only of channels that an image file holds."""
    return (IMAGES, PIXELS) if model.generator.image_shape[2] in PIXEL_CHANNELS else (IMAGES,)


def output_choices(
    requested: Sequence[RequestedOutput] | None, binary: bool, outputs: tuple[str, ...]
) -> dict[str, bool]:
    """Return the names of the requested outputs, with whether each is sent as binary.

    Args:
        requested: what the request names; nothing means all outputs.
        binary: for outputs that do not say so themselves.
        outputs: those of the model.

    Raises:
        RequestError: an output does not exist, is requested twice, or is to be classified.
    """
    if not requested:  # the protocol's default: all outputs
        return dict.fromkeys(outputs, binary)
    choices: dict[str, bool] = {}
    for output in requested:
        if output.name not in outputs:
            listed = f"there are {IMAGES} and {PIXELS}" if len(outputs) > 1 else f"only {IMAGES}"
            raise bad_request(f"there is no output {shorten(output.name)}: {listed}")
        if output.name in choices:
            raise bad_request("an output is requested twice")
        parameters = checked_parameters(output.parameters, f"output {output.name}")
        if "classification" in parameters:
            raise bad_request(f"output {output.name} is an image and cannot be classified")
        own = parse_values(parameters, OutputParameters, "parameters").binary_data
        choices[output.name] = binary if own is None else own
    return choices


def check_datatype(datatype: str, name: str) -> None:
    """Raise RequestError unless the datatype of input `name` is supported."""
    if datatype not in DATATYPES:
        raise bad_request(
            f"input {name} has the datatype {shorten(datatype)}; supported are"
            f" {', '.join(DATATYPES)}"
        )


def datatype_of(output: Array) -> str:
    """Return the protocol's name of an output's type."""
    return "FP32" if output.dtype == np.float32 else "UINT8"


def checked_parameters(parameters: Parameters | None, owner: str) -> Parameters:
    """Return an object's parameters. Raises RequestError if they ask for shared memory."""
    for key in parameters or {}:
        if key.startswith("shared_memory"):
            raise bad_request(
                f"parameter {shorten(key)} of {owner} is not allowed: shared memory is not"
                " supported"
            )
    return parameters or {}
