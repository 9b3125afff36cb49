"""The application: routes, and what every request goes through."""

import logging
import time

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wgan.server.api_keys import OPEN_PATHS, ApiKeys
from wgan.server.image_routes import ImageRoutes
from wgan.server.logs import ACCESS, request_id
from wgan.server.metrics import Metrics
from wgan.server.model_repository import ModelRepository
from wgan.server.oip import HEADER_LENGTH
from wgan.server.oip_routes import OipRoutes
from wgan.server.page_routes import PAGE_PATHS, page_routes
from wgan.server.request_error import RequestError
from wgan.server.responses import refusal_answer
from wgan.server.scheduler import Scheduler
from wgan.server.settings import Settings

NOSNIFF = (b"x-content-type-options", b"nosniff")

log = logging.getLogger("wgan.server")


def make_app(settings: Settings, shelf: ModelRepository, metrics: Metrics) -> ASGIApp:
    """Put the application together."""
    drawing = Scheduler(settings.limits, metrics)

    async def show_metrics(request: Request) -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [
        *OipRoutes(shelf, drawing, settings.limits).routes(),
        *ImageRoutes(shelf, drawing, settings.limits).routes(),
        Route("/metrics", show_metrics),
        *page_routes(),
    ]
    # A bare router: Starlette's own application would answer errors in its own way.
    router = Router(routes, redirect_slashes=False)
    app: ASGIApp = RequestMiddleware(router, ApiKeys(settings.keys), drawing, metrics)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "x-api-key", "content-type", HEADER_LENGTH],
            expose_headers=[HEADER_LENGTH, "etag", "x-request-id", "retry-after"],
        )
    return app


class RequestMiddleware:
    """Around every request: its id, its key, its refusal, its line in the log and the metrics."""

    def __init__(self, app: ASGIApp, access: ApiKeys, drawing: Scheduler, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._drawing = drawing
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        assert scope["type"] == "http"  # no lifespan, no websockets: uvicorn is told so
        started = time.monotonic()
        headers = Headers(scope=scope)
        id = request_id(headers.get("x-request-id"))  # noqa: A001 - the field's word
        status = 499  # a client that went away, in the words of other servers' logs

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", id.encode()), NOSNIFF]
            await send(message)

        try:
            if scope["path"] not in OPEN_PATHS and scope["path"] not in PAGE_PATHS:
                self._access.check(headers)
            scope["app"] = self._app  # has the router raise, where it would answer in plain text
            await self._app(scope, receive, send_marked)
        except (RequestError, HTTPException) as exc:
            refusal = exc if isinstance(exc, RequestError) else _refusal(exc, scope)
            self._metrics.rejections.labels(refusal.reason).inc()
            await refusal_answer(refusal)(scope, receive, send_marked)
        except ClientDisconnect:  # there is nobody to answer
            self._metrics.dropped.inc()
        except Exception:
            log.exception("a request failed", extra={"fields": {"request_id": id}})
            if status == 499:
                failed = RequestError(500, "the server made a mistake; its log says which", "error")
                await refusal_answer(failed)(scope, receive, send_marked)
        finally:
            self._drawing.release(scope)
            self._note(scope, status, id, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, id: str, seconds: float) -> None:  # noqa: A002
        route = scope.get("route")
        path = route.path if isinstance(route, Route) else "none"
        self._metrics.requests.labels(path, str(status)).inc()
        if ACCESS.isEnabledFor(logging.INFO):
            fields = {
                "request_id": id,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(seconds, 6),
                "client": scope["client"][0] if scope["client"] else None,
            }
            ACCESS.info("request", extra={"fields": fields})


def _refusal(exc: HTTPException, scope: Scope) -> RequestError:
    """Say the router's own refusals, an address or a method that is not there, in our form."""
    path, method = scope["path"][:100], scope["method"]
    messages = {
        404: f"there is nothing at {path}: see /docs",
        405: f"{method} is not allowed at {path}",
    }
    message = messages.get(exc.status_code, exc.detail)
    return RequestError(exc.status_code, message, "not_found", exc.headers)
