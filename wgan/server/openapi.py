"""Addresses of the server, and the OpenAPI document that is generated from them.

`/docs` shows the document, and schemathesis tests the server against it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wgan import __version__
from wgan.server.messages import Error, Query, Seed

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

ERRORS = {
    400: "The request is wrong; the message says what.",
    401: "An API key is needed.",
    404: "There is no such model, version or address.",
    406: "None of the accepted media types is available.",
    408: "The request did not arrive in time.",
    413: "The body is too large.",
    415: "The body's Content-Encoding is not supported.",
    429: "Too many images are queued; try again after Retry-After seconds.",
    503: "Not ready or overloaded; try again after Retry-After seconds.",
}

_TAGS = {"images": "Images", "oip": "Open Inference Protocol v2", "server": "Server"}

_PATH_PARAMETERS: dict[str, tuple[Any, str]] = {
    "model": (str, "Name of the model, as in /v1/models."),
    "version": (str, "Training step of the model."),
    "seed": (Seed, "Seed of the image."),
}


@dataclass(frozen=True)
class Endpoint:
    """An address, its handler and what the document says of it.

    Args:
        path: the address, with `{parameters}`.
        handler: its docstring's first line is the summary.
        tag: key of `_TAGS`.
        responses: status -> message type, media types, or None for an empty body. Errors that
            follow from the other fields are added.
        errors: further error statuses.
        query: type of the URL's parameters.
        body: type of the JSON body; with it the method is POST, else GET.
        example: example of a body.
        public: needs no API key.
    """

    path: str
    handler: Handler
    tag: str
    responses: Mapping[int, type[msgspec.Struct] | Sequence[str] | None]
    errors: tuple[int, ...] = ()
    query: type[Query] | None = None
    body: type[msgspec.Struct] | None = None
    example: Json | None = None
    public: bool = False

    @property
    def method(self) -> str:
        """GET or POST."""
        return "GET" if self.body is None else "POST"


def document(endpoints: Sequence[Endpoint], root_path: str = "") -> Json:
    """Return the OpenAPI document.

    Without `root_path`, the prefix of all addresses, they are relative to the document's own.
    """
    types: dict[type[msgspec.Struct], None] = {Error: None}  # in order, each once
    for endpoint in endpoints:
        for message in (endpoint.body, *endpoint.responses.values()):
            if isinstance(message, type):
                types[message] = None
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wgan",
            "version": __version__,
            "summary": "Images from an exported generator",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root_path or "."}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "security": [{}, {"bearer": []}, {"header": []}],
        "paths": {
            endpoint.path: {endpoint.method.lower(): _operation(endpoint)} for endpoint in endpoints
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> Json:
    errors = set(endpoint.errors)
    if not endpoint.public:
        errors.add(401)
    if "{model}" in endpoint.path:
        errors |= {404, 503}
    if endpoint.query is not None:
        errors.add(400)
    if endpoint.body is not None:
        errors |= {400, 408, 413, 415}
    responses: dict[int, Json] = {
        status: {"description": ERRORS[status], "content": {"application/json": _content(Error)}}
        for status in errors
    }
    for status, content in endpoint.responses.items():
        responses[status] = {"description": f"{HTTPStatus(status).phrase}."}
        if isinstance(content, type):
            responses[status]["content"] = {"application/json": _content(content)}
        elif content is not None:
            responses[status]["content"] = {media_type: {} for media_type in content}
    operation: Json = {
        "tags": [endpoint.tag],
        "summary": (endpoint.handler.__doc__ or "").partition("\n")[0],
        "parameters": _parameters(endpoint),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }
    if endpoint.public:
        operation["security"] = [{}]
    if endpoint.body is not None:
        body = _content(endpoint.body) | {"example": endpoint.example}
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _content(message: type[msgspec.Struct]) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{message.__name__}"}}


def _parameters(endpoint: Endpoint) -> list[Json]:
    parameters = []
    for name in re.findall(r"{(\w+)}", endpoint.path):
        type_, text = _PATH_PARAMETERS[name]
        schema = msgspec.json.schema(type_)
        parameters.append(_parameter("path", name, schema, text, required=True))
    if endpoint.query is not None:
        (_,), components = msgspec.json.schema_components([endpoint.query])
        query = components[endpoint.query.__name__]
        parameters += [
            _parameter("query", name, schema, required=name in query["required"])
            for name, schema in query["properties"].items()
        ]
    if 304 in endpoint.responses:
        text = "An ETag that the client has."
        parameters.append(_parameter("header", "If-None-Match", {"type": "string"}, text))
    return parameters


def _parameter(
    place: str, name: str, schema: Json, text: str | None = None, *, required: bool = False
) -> Json:
    return {
        "in": place,
        "name": name,
        "required": required,
        "schema": schema,
        "description": text or schema.get("description", ""),
    }
