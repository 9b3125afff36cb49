"""The ASGI application: routes, the page's files, and what is done for every request."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wgan.errors import UsageError
from wgan.files import read_text
from wgan.page import SCRIPTS, page_file
from wgan.server.batcher import Scheduler
from wgan.server.bodies import error_response, has_tag
from wgan.server.config import ServeConfig
from wgan.server.image_routes import ImageRoutes
from wgan.server.messages import RequestError, internal_error
from wgan.server.model_repository import ModelRepository
from wgan.server.oip import HEADER_LENGTH, OipRoutes
from wgan.server.openapi import Endpoint, document
from wgan.server.telemetry import Metrics, log_request, request_id

HEALTH_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})
"""Need no API key, so that probes need none."""

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""Content-Security-Policy: no content from other servers, no inline scripts or styles."""

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/docs": ("docs.html", "text/html; charset=utf-8"),
    "/page/style.css": ("style.css", "text/css; charset=utf-8"),
    **{
        f"/page/{name}": (name, "text/javascript; charset=utf-8")
        for name in (*SCRIPTS, "served.js", "http.js", "docs.js")
    },
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Address -> file and media type. No other file is read, and each only once."""

PAGE_PATHS = frozenset({*FILES, "/openapi.json"})
"""Need no API key: a browser cannot send one before it has the page. They hold nothing secret;
the images that the page then requests need the key."""

MIN_KEY_LENGTH = 16

NOSNIFF = (b"x-content-type-options", b"nosniff")

CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a request whose client disconnected before the response."""

logger = logging.getLogger("wgan.server")


def make_app(
    config: ServeConfig,
    repository: ModelRepository,
    scheduler: Scheduler,
    keys: "ApiKeys",
    metrics: Metrics,
) -> ASGIApp:
    """Build the application."""

    async def show_metrics(request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    endpoints = [
        *OipRoutes(repository, scheduler, config).endpoints(),
        *ImageRoutes(repository, scheduler, config).endpoints(),
        Endpoint("/metrics", show_metrics, "server", {200: ("text/plain",)}),
    ]
    routes = [
        *(Route(each.path, each.handler, methods=[each.method]) for each in endpoints),
        *_page_routes(document(endpoints, config.root_path)),
    ]
    # A bare router: Starlette's application class would write its own error responses.
    router = Router(routes, redirect_slashes=False)
    app: ASGIApp = RequestMiddleware(router, keys, scheduler, metrics)
    if config.cors_origin:
        app = CORSMiddleware(
            app,
            allow_origins=config.cors_origin,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "x-api-key", "content-type", HEADER_LENGTH],
            expose_headers=[HEADER_LENGTH, "etag", "x-request-id", "retry-after"],
        )
    return WithoutPrefix(app, config.root_path) if config.root_path else app


def _page_routes(openapi: Mapping[str, Any]) -> list[Route]:
    """Routes of all files and of the OpenAPI document."""
    content = json.dumps(openapi).encode()

    async def show_document(request: Request) -> Response:
        return Response(content, media_type="application/json")

    routes = [_file_route(path, name, media_type) for path, (name, media_type) in FILES.items()]
    return [*routes, Route("/openapi.json", show_document)]


def _file_route(path: str, name: str, media_type: str) -> Route:
    content = page_file(name)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "content-security-policy": POLICY,
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
        "etag": etag,
    }

    async def show(request: Request) -> Response:
        if has_tag(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers={**headers, "content-type": media_type})

    return Route(path, show)


class WithoutPrefix:
    """Takes the prefix off addresses, for proxies that keep it; the others stay as they are.

    So health probes and proxies that strip the prefix work too.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"]
        if path == self._prefix:  # relative addresses of the page need the last slash
            response = Response(status_code=308, headers={"location": f"{self._prefix}/"})
            await response(scope, receive, send)
            return
        if path.startswith(f"{self._prefix}/"):
            scope = {**scope, "path": path.removeprefix(self._prefix)}
        await self._app(scope, receive, send)


class RequestMiddleware:
    """Request id, API key, error responses, access log and metrics of every request."""

    def __init__(
        self, app: ASGIApp, keys: "ApiKeys", scheduler: Scheduler, metrics: Metrics
    ) -> None:
        self._app = app
        self._keys = keys
        self._scheduler = scheduler
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        assert scope["type"] == "http"  # uvicorn is configured without lifespan and websockets
        started = time.monotonic()
        headers = Headers(scope=scope)
        id = request_id(headers.get("x-request-id"))  # noqa: A001 - the field's word
        status = CLIENT_CLOSED_REQUEST  # unless a response starts

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", id.encode()), NOSNIFF]
            await send(message)

        try:
            if scope["path"] not in HEALTH_PATHS and scope["path"] not in PAGE_PATHS:
                self._keys.check(headers)
            scope["app"] = self._app  # makes the router raise 404 and 405 instead of answering
            await self._app(scope, receive, send_with_id)
        except (RequestError, HTTPException) as exc:
            error = exc if isinstance(exc, RequestError) else _router_error(exc, scope)
            self._metrics.rejections.labels(error.reason).inc()
            await error_response(error)(scope, receive, send_with_id)
        except ClientDisconnect:  # no client is left to answer
            self._metrics.dropped.inc()
        except Exception:
            logger.exception("a request failed", extra={"fields": {"request_id": id}})
            if status == CLIENT_CLOSED_REQUEST:
                await error_response(internal_error())(scope, receive, send_with_id)
        finally:
            self._scheduler.release(scope)
            route = scope.get("route")
            path = route.path if isinstance(route, Route) else "none"
            self._metrics.requests.labels(path, str(status)).inc()
            log_request(
                request_id=id,
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(time.monotonic() - started, 6),
                client=scope["client"][0] if scope["client"] else None,
            )


def _router_error(exc: HTTPException, scope: Scope) -> RequestError:
    """Give the router's 404 and 405 the form of every other error."""
    path = scope["path"][:100]
    message = f"there is nothing at {path}: see /docs"
    if exc.status_code == 405:
        message = f"{scope['method']} is not allowed at {path}"
    return RequestError(exc.status_code, message, "not_found", exc.headers)


class ApiKeys:
    """API keys, kept as hashes; without any, every request is accepted."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._hashes = [_hash(key) for key in keys]

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise RequestError (401) unless the headers, by lower-case name, hold a valid key."""
        if not self._hashes:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = headers.get("x-api-key", "")
        given = _hash(key.strip())
        # sum, not any: the time must not depend on which key matches, nor on how far.
        if not sum(hmac.compare_digest(given, known) for known in self._hashes):
            raise RequestError(
                401,
                "an API key is needed: send  Authorization: Bearer KEY  or  X-API-Key: KEY",
                "unauthorized",
                {"WWW-Authenticate": "Bearer"},
            )


def read_keys(path: Path) -> tuple[str, ...]:
    """Read a file of API keys, one per line; empty lines and lines starting with # are skipped.

    Raises:
        UsageError: the file cannot be read, or holds no key or one that is too short.
    """
    try:
        lines = read_text(path).splitlines()
        if not all(map(str.isascii, lines)):
            raise ValueError("keys are ASCII")
    except (OSError, ValueError) as exc:
        raise UsageError(f"the key file {path} cannot be read: {exc}") from exc
    stripped = [line.strip() for line in lines]
    keys = tuple(line for line in stripped if line and not line.startswith("#"))
    if not keys:
        raise UsageError(f"the key file {path} holds no key: write one per line")
    if min(map(len, keys)) < MIN_KEY_LENGTH:
        raise UsageError(
            f"a key in {path} has fewer than {MIN_KEY_LENGTH} characters: choose a longer one"
        )
    return keys


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
