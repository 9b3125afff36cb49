"""Responses: JSON, bytes in pieces, packed where the client can unpack them."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wgan.server.request_error import RequestError

COMPRESSED_FROM = 1024
"""Bytes; a shorter answer is not worth packing."""

_BUFFERED = 64 * 1024
"""Bytes that a connection takes without waiting for the client (uvicorn's high-water mark)."""

_IN_A_THREAD_FROM = 64 * 1024
"""Bytes; packing more than this would keep the event loop for a millisecond or more."""

_WINDOW_BITS = {"gzip": 31, "deflate": 15}

Piece = bytes | memoryview


class ChunkedResponse(Response):
    """A body in pieces.

    A short one is joined and sent at once. The pieces of a long one are sent as they are, without
    a copy, and it is only over when the bytes are on their way: the empty last message waits until
    the connection's buffer has been emptied.
    """

    def __init__(self, pieces: Sequence[Piece], headers: Mapping[str, str], status: int = 200):
        self.status_code = status
        self.background = None
        size = sum(map(len, pieces))
        self._pieces = pieces if size > _BUFFERED else [b"".join(pieces)]
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (*headers.items(), ("content-length", str(size)))
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        if len(self._pieces) == 1 and len(self._pieces[0]) <= _BUFFERED:
            await send({"type": "http.response.body", "body": self._pieces[0]})
            return
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def refusal_answer(refusal: RequestError) -> Response:
    """Answer with `{"error": ...}`."""
    return json_answer({"error": refusal.message}, refusal.status, refusal.headers)


async def compressed(
    request: Request, pieces: Sequence[Piece], headers: dict[str, str]
) -> Response:
    """Answer with `pieces`, packed when the client's Accept-Encoding allows gzip or deflate."""
    headers = {**headers, "vary": "accept-encoding"}
    encoding = accepted_encoding(request.headers.get("accept-encoding", ""))
    size = sum(map(len, pieces))
    if encoding is None or size < COMPRESSED_FROM:
        return ChunkedResponse(pieces, headers)
    if size < _IN_A_THREAD_FROM:
        packed = _pack(pieces, encoding)
    else:
        packed = await asyncio.to_thread(_pack, pieces, encoding)
    return ChunkedResponse([packed], {**headers, "content-encoding": encoding})


def accepted_encoding(header: str) -> str | None:
    """The packing that a client can undo, gzip before deflate, None where there is none.

    Quality values are not weighed, but for a 0, which forbids.
    """
    allowed = set()
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        if parameter.replace(" ", "").rstrip("0") not in ("q=", "q=0."):
            allowed.add(name.strip())
    return next((name for name in _WINDOW_BITS if name in allowed), None)


def _pack(pieces: Sequence[Piece], encoding: str) -> bytes:
    # The fastest level: images hardly shrink more at a higher one.
    packer = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])
