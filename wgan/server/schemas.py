"""The JSON of requests and answers, as JSON Schema, for the OpenAPI document."""

from typing import Any

from wgan.latents import SEED_LIMIT
from wgan.runtime.latent_sources import TRUNCATION_LIMIT
from wgan.server.tensors import DATATYPES

Json = dict[str, Any]

TRUNCATION: Json = {"type": "number", "minimum": 0, "maximum": TRUNCATION_LIMIT, "default": 1.0}

INFER_EXAMPLE: Json = {
    "inputs": [{"name": "seeds", "datatype": "INT64", "shape": [2], "data": [1, 2]}],
    "outputs": [{"name": "pixels"}],
}

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_SEED: Json = {"type": "integer", "minimum": 0, "maximum": SEED_LIMIT - 1}
_PARAMETERS: Json = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}  # fmt: skip  # noqa: E501


def _object(properties: Json, *optional: str) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


_DESCRIBED = _object({"name": _TEXT, "datatype": _TEXT, "shape": _list({"type": "integer"})})

_MODEL = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "sha256": _TEXT,
        "provider": _TEXT,
        "latent_dim": _COUNT,
        "height": _COUNT,
        "width": _COUNT,
        "channels": _COUNT,
        "manifest": {"type": ["object", "null"]},
    }
)

ALL: Json = {
    "RequestError": {**_object({"error": _TEXT}), "additionalProperties": False},
    "Model": _MODEL,
    "Models": _object(
        {
            "models": _list({"$ref": "#/components/schemas/Model"}),
            "limits": _object({"max_images": _COUNT}),
            "version": _TEXT,
        }
    ),
    "ImageRequest": {
        "description": "One of: seeds; latents; first and second, with steps.",
        "type": "object",
        "properties": {
            "seeds": {"anyOf": [_TEXT, _list(_SEED, minItems=1)]},
            "latents": _list(_list({"type": "number"}), minItems=1),
            "first": _SEED,
            "second": _SEED,
            "steps": {"type": "integer", "minimum": 2, "default": 16},
            "truncation": TRUNCATION,
        },
        "additionalProperties": False,
    },
    "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
    "Health": _object({"live": _FLAG, "ready": _FLAG}),
    "Ready": _object({"name": _TEXT, "ready": _FLAG}),
    "Metadata": _object(
        {
            "name": _TEXT,
            "versions": _list(_TEXT),
            "platform": _TEXT,
            "inputs": _list(_DESCRIBED),
            "outputs": _list(_DESCRIBED),
        }
    ),
    "InferRequest": _object(
        {
            "id": _TEXT,
            "parameters": _PARAMETERS,
            "inputs": _list(
                _object(
                    {
                        "name": {"enum": ["latents", "seeds"]},
                        "datatype": {"enum": list(DATATYPES)},
                        "shape": _list(_COUNT, minItems=1, maxItems=2),
                        "parameters": _PARAMETERS,
                        "data": {"type": "array"},
                    },
                    "parameters",
                    "data",
                ),
                minItems=1,
                maxItems=1,
            ),
            "outputs": _list(
                _object(
                    {"name": {"enum": ["images", "pixels"]}, "parameters": _PARAMETERS},
                    "parameters",
                )
            ),
        },
        "id",
        "parameters",
        "outputs",
    ),
    "InferResponse": _object(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "outputs": _list(
                _object(
                    {
                        "name": _TEXT,
                        "datatype": _TEXT,
                        "shape": _list(_COUNT),
                        "parameters": _PARAMETERS,
                        "data": {"type": "array"},
                    },
                    "parameters",
                    "data",
                )
            ),
        },
        "id",
    ),
}
