"""The gRPC server: its port, its limits, and what is done for every call.

On the server's side each call is a stream, which a client with one request and one response cannot
tell: so the key is checked before the request is read, reading has a time limit, and images count
as held until their response has been sent.
"""

import asyncio
import functools
import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from starlette.requests import ClientDisconnect

from wgan.errors import UsageError
from wgan.server.asgi import ApiKeys
from wgan.server.batcher import Scheduler
from wgan.server.config import ServeConfig
from wgan.server.connection import DISCONNECT
from wgan.server.grpc.protocol import request_type
from wgan.server.grpc.service import InferenceService, Method
from wgan.server.messages import RequestError, bad_request, internal_error
from wgan.server.model_repository import ModelRepository
from wgan.server.telemetry import Metrics, log_request, request_id

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # clients must not write to the server's log
# Else starting a process that probes a model may close connections.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc  # reads the variables

logger = logging.getLogger("wgan.server")

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""HTTP status -> gRPC's code."""

MAX_STREAMS = 100
"""Calls at once on one connection, the least that RFC 9113 recommends."""


class GrpcServer:
    """Serves a repository over gRPC. Create and use it in the event loop's thread.

    Args:
        config: `grpc_port` is set; the limits are those of HTTP.
        repository: the models.
        scheduler: shared with HTTP, so that its limits apply to both together.
        keys: the API keys.
        metrics: calls are counted by their path and gRPC's name of the status.

    Raises:
        UsageError: the address cannot be bound.
    """

    def __init__(
        self,
        config: ServeConfig,
        repository: ModelRepository,
        scheduler: Scheduler,
        keys: ApiKeys,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._scheduler = scheduler
        self._keys = keys
        self._metrics = metrics
        self._server = grpc.aio.server(
            options=_options(config), maximum_concurrent_rpcs=config.max_connections
        )
        for method in InferenceService(repository, scheduler).methods():
            handler = grpc.stream_stream_rpc_method_handler(functools.partial(self._call, method))
            self._server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(method.service, {method.name: handler})]
            )
        host = f"[{config.host}]" if ":" in config.host else config.host
        try:
            port = self._server.add_insecure_port(f"{host}:{config.grpc_port}")
        except RuntimeError as exc:
            raise UsageError(
                f"cannot listen at {config.host} port {config.grpc_port} for gRPC: {exc}"
            ) from exc
        self.address = f"{host}:{port}"

    async def start(self) -> None:
        """Accept calls."""
        await self._server.start()

    async def stop(self, seconds: float | None) -> None:
        """Refuse new calls, give running ones `seconds` to end (None: none), cancel the rest."""
        await self._server.stop(seconds)

    async def _call(self, method: Method, _: object, context: Any) -> None:
        """Serve one call: request id, API key, errors, access log and metrics."""
        started = time.monotonic()
        metadata = {name: str(value) for name, value in context.invocation_metadata() or ()}
        id = request_id(metadata.get("x-request-id"))  # noqa: A001 - the field's word
        scope: dict[str, Any] = {DISCONNECT: asyncio.get_running_loop().create_future()}
        code = grpc.StatusCode.CANCELLED  # unless it ends otherwise
        try:
            if not method.public:
                self._keys.check(metadata)
            request = await self._read(method, context)
            response = await method.answer(request, scope)
            context.set_trailing_metadata([("x-request-id", id)])
            await context.write(response.SerializeToString())
            code = grpc.StatusCode.OK
        except RequestError as exc:
            self._metrics.rejections.labels(exc.reason).inc()
            code = _refuse(context, exc, {"x-request-id": id})
        except (asyncio.CancelledError, ClientDisconnect):
            self._metrics.dropped.inc()
            raise
        except Exception:
            logger.exception("a call failed", extra={"fields": {"request_id": id}})
            code = _refuse(context, internal_error(), {"x-request-id": id})
        finally:
            self._scheduler.release(scope)
            self._metrics.requests.labels(method.path, code.name).inc()
            log_request(
                request_id=id,
                method="gRPC",
                path=method.path,
                status=code.name,
                seconds=round(time.monotonic() - started, 6),
                client=_host(context.peer()),
            )

    async def _read(self, method: Method, context: Any) -> Any:
        """Read and decode the request. Raises RequestError."""
        seconds = self._config.body_seconds
        try:
            async with asyncio.timeout(seconds):
                data = await context.read()
        except TimeoutError as exc:
            raise RequestError(
                408, f"the request did not arrive within {seconds:g} seconds", "timeout"
            ) from exc
        if data is grpc.aio.EOF:  # the client of a request that is too large gets gRPC's own error
            limit = self._config.max_body
            raise bad_request(f"the call has no request, or one of more than {limit} bytes")
        try:
            return request_type(method.service, method.name).FromString(data)
        except DecodeError as exc:
            raise bad_request(f"the request is not a message of {method.path}") from exc


def _options(config: ServeConfig) -> list[tuple[str, int]]:
    """The limits of HTTP, as gRPC's arguments of a server.

    gRPC cannot cancel a response that a client does not read. Instead each connection ends: without
    an answer to pings, and otherwise with age, as calls move to a new connection unnoticed.
    """
    ending = config.answer_seconds + config.send_seconds
    return [
        ("grpc.so_reuseport", 0),  # else a second server could share the port
        ("grpc.max_receive_message_length", config.max_body),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", _milliseconds(config.header_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(config.idle_seconds)),
        ("grpc.max_connection_age_ms", _milliseconds(config.idle_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(ending)),
        ("grpc.keepalive_time_ms", _milliseconds(config.send_seconds)),
        ("grpc.keepalive_timeout_ms", _milliseconds(config.send_seconds)),
    ]


def _milliseconds(seconds: float) -> int:
    return max(1, min(2**31 - 2, round(seconds * 1000)))  # 2**31 - 1 means no limit


def _refuse(context: Any, error: RequestError, metadata: Mapping[str, str]) -> Any:
    """Set the status and the headers of an error; returns the status."""
    # Clients retry UNAVAILABLE, kserve's by default, and an overload must not grow.
    overload = grpc.StatusCode.RESOURCE_EXHAUSTED if error.reason == "overload" else None
    code = overload or CODES[error.status]
    headers = {name.lower(): value for name, value in error.headers.items()}
    context.set_code(code)
    context.set_details(error.message)
    context.set_trailing_metadata(list({**headers, **metadata}.items()))
    return code


def _host(peer: str) -> str:
    """The address in gRPC's name of a client, such as `ipv4:127.0.0.1:40000`."""
    return peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "")
