"""A connection: uvicorn's, with limits on time, header bytes and how many there are.

uvicorn waits for ever for a client that sends its headers or its body a byte at a time, or that
does not read its answer, and it puts no bound on headers. Each request here has a time for its
headers and for its body, and each answer one to be taken.
"""

import asyncio
import contextlib
import http
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from wgan.server.settings import Limits

MAX_HEADER_BYTES = 64 * 1024


CLIENT = "wgan.client"
"""Key of a request's scope: its `Client`."""


class Client:
    """Who asks, and whether they are still there.

    uvicorn tells it to who awaits the next message; a task for that would cost each request more
    than reading it does.
    """

    def __init__(self) -> None:
        self.left = False
        self._calls: set[Callable[[], object]] = set()

    @contextlib.contextmanager
    def on_leaving(self, call: Callable[[], object]) -> Iterator[None]:
        """Have `call` called if the client leaves, or has left, while the block lasts."""
        if self.left:
            call()
        self._calls.add(call)
        try:
            yield
        finally:
            self._calls.discard(call)

    def leave(self) -> None:
        """The connection is gone."""
        self.left = True
        for call in list(self._calls):
            call()


class Connection(HttpToolsProtocol):
    """One client's connection. `connection_type` binds it to a server's limits."""

    limits = Limits()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0  # of a request whose headers are not complete
        self._in_headers = True
        self._client = Client()

    # The connection itself.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client on, or turn it away when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "too many connections are open; try again in 1 s")
            return
        self._arm(self.limits.header_seconds, "headers")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._disarm()
        self._stop_send_timer()
        self._client.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read, unless the headers go on and on."""
        if self.transport.is_closing():  # refused; what still comes is not looked at
            return
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")

    # A request, as the parser finds its parts.

    def on_message_begin(self) -> None:
        """A request begins: its headers are awaited for so long."""
        super().on_message_begin()
        self._arm(self.limits.header_seconds, "headers")

    def on_headers_complete(self) -> None:
        """Hand the request on: its body is awaited for so long."""
        self._in_headers = False
        self._header_bytes = 0
        self.scope[CLIENT] = self._client  # type: ignore[literal-required]
        super().on_headers_complete()
        self._arm(self.limits.body_seconds, "body")

    def on_message_complete(self) -> None:
        """The request is here; the next one's headers may come."""
        self._in_headers = True
        self._disarm()
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # a large body stopped it: else nobody sees the client leave

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, "this is not a valid HTTP/1.1 request")

    # The answer.

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is made."""
        super().pause_writing()
        self._stop_send_timer()
        self._send_timer = self.loop.call_later(self.limits.send_seconds, self._give_up)

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self._stop_send_timer()
        super().resume_writing()

    def _give_up(self) -> None:
        """Close without waiting for what the client has not taken."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # before uvloop wakes who wants to write more
        self._client.leave()
        self.transport.abort()

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    # Time.

    def _arm(self, seconds: float, part: str) -> None:
        self._disarm()
        self._timer = self.loop.call_later(seconds, self._late, part, seconds)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self, part: str, seconds: float) -> None:
        self._refuse(408, f"the request's {part} did not come within {seconds:g} seconds")

    def _refuse(self, status: int, message: str) -> None:
        """Answer, unless an answer is under way, and close."""
        self._disarm()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_response(status, message))
        self.transport.close()


def connection_type(limits: Limits) -> type[Connection]:
    """The class of a server's connections, which uvicorn makes."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


def _response(status: int, message: str) -> bytes:
    body = orjson.dumps({"error": message})
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
        *(["retry-after: 1"] if status == 503 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
