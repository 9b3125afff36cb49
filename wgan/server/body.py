"""A request's body: read, unpacked and parsed within limits."""

import zlib
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from wgan.server.request_error import RequestError, bad_request, too_large
from wgan.text import shorten

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's `wbits`: a gzip header and trailer, or zlib's own."""

_RAW_DEFLATE = -15


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body and undo its Content-Encoding.

    Raises:
        RequestError: 413 for more than `limit` bytes, compressed or not; 415 for an unknown
            encoding; 400 for a damaged one.
        ClientDisconnect: the client went away.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", *_WINDOW_BITS):
        raise RequestError(
            415,
            f"content encoding {shorten(encoding)} is not known: gzip, deflate and identity are",
            "unsupported",
        )
    packed = await _receive(request, limit)
    return packed if encoding == "identity" else unpack(packed, encoding, limit)


async def _receive(request: Request, limit: int) -> bytes:
    told = request.headers.get("content-length", "0")
    if told.isdecimal() and int(told) > limit:
        # The rest of the body is read past, within the time for bodies; but a client that asks
        # first must not begin to send one.
        headers = {"Connection": "close"} if "expect" in request.headers else {}
        raise RequestError(413, _over(int(told), limit), "too_large", headers)
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(_over(len(body), limit))
        if not message.get("more_body", False):
            return bytes(body)


def unpack(packed: bytes, encoding: str, limit: int) -> bytes:
    """Undo `"gzip"` or `"deflate"`, never making more than `limit` bytes.

    "deflate" means zlib's format, but some clients send it bare: both are read.

    Raises:
        RequestError: it is damaged, cut off or followed by something else, or becomes too large.
    """
    bits = _WINDOW_BITS[encoding]
    if encoding == "deflate" and not _has_zlib_header(packed):
        bits = _RAW_DEFLATE
    unpacker = zlib.decompressobj(bits)
    try:
        body = unpacker.decompress(packed, limit + 1)
    except zlib.error as exc:
        raise bad_request(f"the body is not {encoding}: {exc}") from exc
    if len(body) > limit:
        raise too_large(f"the body unpacks to more than {limit} bytes, which is the limit")
    if not unpacker.eof:
        raise bad_request(f"the body's {encoding} data is cut off")
    if unpacker.unused_data:
        raise bad_request(f"the body goes on after its {encoding} data")
    return body


def _has_zlib_header(data: bytes) -> bool:
    return len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def parse_json(data: bytes | memoryview) -> dict[str, Any]:
    """Read a JSON object. orjson refuses NaN, Infinity and more than 1024 levels.

    Raises:
        RequestError: it is something else.
    """
    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise bad_request(f"the body is not JSON: {exc}") from exc
    if not isinstance(content, dict):
        raise bad_request(f"the body is JSON, but {type(content).__name__}, not an object")
    return content


def _over(found: int, limit: int) -> str:
    return f"the body has {found} bytes or more; at most {limit} are read"
