"""The OpenAPI document: what `/docs` shows, and what the server is tested against."""

from typing import Any

from wgan import __version__
from wgan.latents import SEED_LIMIT
from wgan.server import schemas
from wgan.server.media_types import KINDS, PNG

Json = dict[str, Any]

_TAGS = [
    {"name": "images", "description": "Images"},
    {"name": "oip", "description": "Open Inference Protocol v2"},
    {"name": "server", "description": "The server itself"},
]

_OPEN: list[Json] = [{}]
"""Security of what needs no key, whatever the server was told."""

_REFUSALS = {
    "400": "The request is wrong; the sentence says what.",
    "401": "The server asks for a key.",
    "404": "There is no such model, version or address.",
    "406": "None of the kinds that are accepted can be made.",
    "408": "The request did not come in time.",
    "413": "The body has too many bytes.",
    "415": "The body's packing is not known.",
    "429": "Too many images wait; come back after Retry-After seconds.",
    "503": "Not ready, or overloaded; come back after Retry-After seconds.",
}


def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wgan",
            "version": __version__,
            "summary": "Images from an exported generator",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _TAGS,
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": {**_image_paths(), **_protocol_paths(), **_server_paths()},
        "components": {
            "schemas": schemas.ALL,
            "parameters": _parameters(),
            "responses": {f"Refused{status}": _refusal(text) for status, text in _REFUSALS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _image_paths() -> Json:
    base = "/v1/models/{model}"
    drawn = {"200": _png("The image."), "304": {"description": "The client has it."}}
    wrong = ("400", "401", "404", "429", "503")
    return {
        "/v1/models": _get("images", "All models.", {"200": _json("Models", "Models")}, ("401",)),
        base: _get(
            "images", "One model.", {"200": _json("Model", "The model")}, ("401", "404", "503"),
            "model",
        ),
        f"{base}/images/{{seed}}.png": _get(
            "images", "The image of a seed.", drawn, wrong, "model", "seed", "truncation",
            "known",
        ),
        f"{base}/grid.png": _get(
            "images", "The images of several seeds in one.", drawn, wrong, "model", "seeds",
            "truncation", "known",
        ),
        f"{base}/between.png": _get(
            "images", "An image on the way from one seed's to another's.", drawn, wrong,
            "model", "first", "second", "at", "truncation", "known",
        ),
        f"{base}/sample": _post(
            "images",
            "Images as one PNG, an array or an archive, as Accept asks.",
            _body("ImageRequest", {"seeds": "0-15", "truncation": 0.8}),
            {"200": _files("The images: a grid, uint8 [n, h, w, c], or a PNG each.")},
            (*wrong, "406", "408", "413", "415"),
        ),
    }  # fmt: skip


def _protocol_paths() -> Json:
    wrong = ("400", "401", "404", "408", "413", "415", "503")
    paths = {
        "/v2": _get("oip", "Name and extensions.", {"200": _json("Server", "The server")}, ("401",))
    }
    for health in ("live", "ready"):
        answers = {"200": _json("Health", "It is"), "503": _json("Health", "Not yet")}
        path = _get("oip", f"Whether the server is {health}.", answers, ())
        path["get"]["security"] = _OPEN
        paths[f"/v2/health/{health}"] = path
    for base, names in (
        ("/v2/models/{model}", ["model"]),
        ("/v2/models/{model}/versions/{version}", ["model", "version"]),
    ):
        paths[base] = _get(
            "oip", "Inputs and outputs.", {"200": _json("Metadata", "The model")},
            ("401", "404", "503"), *names,
        )  # fmt: skip
        paths[f"{base}/ready"] = _get(
            "oip", "Whether the model can draw.",
            {"200": _json("Ready", "It can"), "503": _json("Ready", "Not yet")},
            ("401", "404"), *names,
        )  # fmt: skip
        paths[f"{base}/infer"] = _post(
            "oip",
            "Draw from seeds or from latents.",
            _body("InferRequest", schemas.INFER_EXAMPLE),
            {"200": _json("InferResponse", "The outputs")},
            wrong,
            *names[1:],
        )
    return paths


def _server_paths() -> Json:
    metrics = {"200": {"description": "Prometheus' text format", "content": {"text/plain": {}}}}
    return {"/metrics": _get("server", "What Prometheus reads.", metrics, ("401",))}


def _get(tag: str, summary: str, answers: Json, refusals: tuple[str, ...], *names: str) -> Json:
    return {"get": _operation(tag, summary, answers, refusals, names)}


def _post(
    tag: str, summary: str, body: Json, answers: Json, refusals: tuple[str, ...], *names: str
) -> Json:
    operation = _operation(tag, summary, answers, refusals, ("model", *names))
    return {"post": {**operation, "requestBody": body}}


def _operation(
    tag: str, summary: str, answers: Json, refusals: tuple[str, ...], names: tuple[str, ...]
) -> Json:
    refused = {status: {"$ref": f"#/components/responses/Refused{status}"} for status in refusals}
    return {
        "tags": [tag],
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names],
        "responses": {**refused, **answers},
    }


def _json(schema: str, description: str) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": f"{description}.", "content": content}


def _refusal(description: str) -> Json:
    return {**_json("RequestError", "Refused"), "description": description}


def _png(description: str) -> Json:
    return {
        "description": description,
        "headers": {"ETag": {"schema": {"type": "string"}, "description": "Strong."}},
        "content": {PNG: {}},
    }


def _files(description: str) -> Json:
    return {"description": description, "content": {kind: {} for kind in KINDS}}


def _body(schema: str, example: Json) -> Json:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"required": True, "content": {"application/json": content}}


def _parameters() -> Json:
    seed = {"type": "integer", "minimum": 0, "maximum": SEED_LIMIT - 1}
    ratio = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "model": _parameter("path", "model", {"type": "string"}, "Its name, as in /v1/models."),
        "version": _parameter("path", "version", {"type": "string"}, "Its training step."),
        "seed": _parameter("path", "seed", seed, f"0 to {SEED_LIMIT - 1}."),
        "seeds": _parameter(
            "query", "seeds", {"type": "string", "default": "0-63"}, "As in 0,1,4-6."
        ),
        "first": _parameter("query", "first", seed, "The seed where the way begins.", needed=True),
        "second": _parameter("query", "second", seed, "The seed where it ends.", needed=True),
        "at": _parameter("query", "at", ratio | {"default": 0.5}, "How far: 0 to 1."),
        "truncation": _parameter(
            "query", "truncation", schemas.TRUNCATION, "Scales the latents; 1 leaves them."
        ),
        "known": _parameter(
            "header", "If-None-Match", {"type": "string"}, "An ETag that the client has."
        ),
    }


def _parameter(place: str, name: str, schema: Json, text: str, *, needed: bool = False) -> Json:
    return {
        "in": place,
        "name": name,
        "required": needed or place == "path",
        "schema": schema,
        "description": text,
    }
