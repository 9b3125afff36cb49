"""A client's connection, with limits on time, header bytes and the number of connections.

uvicorn's settings limit neither the time of a request's headers or body nor that of a client that
does not read its response, and hypercorn and granian have only some of these limits. Hence this
subclass of uvicorn's httptools protocol. It relies on the attributes `connections`, `cycle`,
`flow`, `pipeline`, `scope` and `transport`: tests/server/test_attacks.py fails if a new uvicorn
changes them.
"""

import asyncio
import http
import re
from collections import deque
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from wgan.server.config import ServeConfig
from wgan.server.messages import Error

MAX_HEADER_BYTES = 64 * 1024

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")  # RFC 3986: host and port

DISCONNECT = "wgan.disconnect"
"""Key of a request's scope: a future that is done once the client has disconnected.

ASGI reports a disconnect only to a pending `receive`; a task for that would cost more than parsing
a request.
"""


class _Refused(Exception):
    """Ends the parsing of bytes whose connection has been closed."""


class Connection(HttpToolsProtocol):
    """One connection; `connection_type` binds the class to a server's limits.

    At any time one timer runs, uvicorn's or one of these, except while a response is generated.
    """

    limits: ServeConfig

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0  # of the request's complete headers
        self._pending_bytes = 0  # of a header that is incomplete
        self._in_headers = True
        self._in_request = False  # from a request's first byte to its last
        self._refused = False  # a request was: later bytes are ignored
        self._unanswered: deque[RequestResponseCycle] = deque()  # uvicorn keeps only the last
        self._disconnect: asyncio.Future[None] = self.loop.create_future()

    # asyncio's callbacks: connection and bytes.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a client, or turn it away if too many are connected."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(503, "too many connections are open; try again in 1 s")
            return
        self._start_read_timer(self.limits.header_seconds, "headers")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and report the disconnect."""
        self._stop_read_timer()
        self._stop_write_timer()
        self._report_disconnect()
        super().connection_lost(exc)
        for cycle in self._unanswered:
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and refuse headers that exceed the limit."""
        if self._refused or self.transport.is_closing():
            return
        if self._in_headers:
            self._pending_bytes += len(data)
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        # The parser calls nothing before a header is complete.
        if self._in_headers and self._header_bytes + self._pending_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
        elif self._read_timer is None and not self._in_request and not self._unanswered:
            # Empty lines before a request, or the end of a body that was refused before it came:
            # uvicorn has stopped its timer, and the parser reports no request.
            self._start_read_timer(self.limits.header_seconds, "headers")

    def pause_writing(self) -> None:
        """Give the client its time to read: the write buffer is full."""
        super().pause_writing()
        self._start_write_timer()

    def resume_writing(self) -> None:
        """Continue: the client has read most of the buffer."""
        if not self.transport.is_closing():
            self._stop_write_timer()
        super().resume_writing()

    # uvicorn's callbacks.

    def on_response_complete(self) -> None:
        """Start the next response, the time between requests, or the time to read the last."""
        self._unanswered.popleft()
        super().on_response_complete()
        self._limit_closing()

    def timeout_keep_alive_handler(self) -> None:
        """Close after the time between requests."""
        super().timeout_keep_alive_handler()
        self._limit_closing()

    # httptools' callbacks: the parts of a request.

    def on_message_begin(self) -> None:
        """Start the time for headers, unless it runs since the connection or an empty line."""
        super().on_message_begin()
        self._in_request = True
        self._header_bytes = 0
        if self._read_timer is None:
            self._start_read_timer(self.limits.header_seconds, "headers")

    def on_url(self, url: bytes) -> None:
        """Count a part of the address."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header. Trailers are ignored: the application has read the headers."""
        self._count_header(len(name) + len(value) + 4)
        if self._in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check Host (RFC 9112, 3.2), start the application, and the time for the body."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or self.parser.get_http_version() >= "1.1"):
            self._refuse(400, f"the request has {len(hosts)} Host headers: one is needed")
            raise _Refused
        if hosts and not _HOST.fullmatch(hosts[0]):
            self._refuse(400, "the Host header is not a host name or address")
            raise _Refused
        self._in_headers = False
        self._pending_bytes = 0
        self.scope[DISCONNECT] = self._disconnect  # type: ignore[literal-required]
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        self._start_read_timer(self.limits.body_seconds, "body")

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._in_headers = True
        self._in_request = False
        self._stop_read_timer()
        super().on_message_complete()
        if not self.pipeline:
            # uvicorn pauses reading at a large body; without reading, a disconnect goes unnoticed.
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP in the form of every other error."""
        self._refuse(400, "this is not a valid HTTP/1.1 request")

    def _count_header(self, size: int) -> None:
        self._pending_bytes = 0
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse_headers()
            raise _Refused

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the headers have more than {MAX_HEADER_BYTES} bytes")

    # Timers.

    def _start_read_timer(self, seconds: float, part: str) -> None:
        self._stop_read_timer()
        message = f"the request's {part} did not arrive within {seconds:g} seconds"
        self._read_timer = self.loop.call_later(seconds, self._refuse, 408, message)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _start_write_timer(self) -> None:
        self._stop_write_timer()
        self._write_timer = self.loop.call_later(self.limits.send_seconds, self._abort)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _limit_closing(self) -> None:
        """Limit how long a closing connection waits for the client to read its last response."""
        if self.transport.is_closing():
            self._start_write_timer()

    def _refuse(self, status: int, message: str) -> None:
        """Send an error, unless the response has started, and close.

        If requests before this one are unanswered, answer those and close instead.
        """
        self._stop_read_timer()
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        waiting = list(self._unanswered)
        started = False
        if waiting and not self._in_headers:  # the refused request has reached the application
            started = waiting.pop().response_started
        if waiting:
            waiting[-1].keep_alive = False
            return
        if not started:
            body = msgspec.json.encode(Error(message))
            lines = [
                f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
                *(["retry-after: 1"] if status == 503 else []),
            ]
            self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self._report_disconnect()
        self.transport.close()
        self._limit_closing()

    def _abort(self) -> None:
        """Close and discard what the client has not read."""
        self._report_disconnect()
        self.transport.abort()

    def _report_disconnect(self) -> None:
        for cycle in self._unanswered:
            # Before uvloop wakes a writer: it would write to a closed transport.
            cycle.disconnected = True
        if not self._disconnect.done():  # abort leads to connection_lost
            self._disconnect.set_result(None)


def connection_type(config: ServeConfig) -> type[Connection]:
    """Return the class for `uvicorn.Config(http=...)` with these limits."""
    return type("LimitedConnection", (Connection,), {"limits": config})
