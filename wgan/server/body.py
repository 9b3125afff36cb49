"""Input from a client: bodies read and decompressed within limits, then parsed into `messages`."""

import functools
import re
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from wgan.server.messages import RequestError, bad_request, too_large
from wgan.text import shorten

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's `wbits`: with a gzip header and trailer, or with zlib's own."""

_RAW_DEFLATE = -15

_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for JSON that is malformed, not UTF-8, or nested too deeply."""

T = TypeVar("T", bound=msgspec.Struct)


async def read_body(request: Request, limit: int) -> bytes:
    """Read the whole body and undo its Content-Encoding.

    Raises:
        RequestError: 413 for more than `limit` bytes, compressed or not; 415 for an unknown
            encoding; 400 for damaged data.
        ClientDisconnect: the client disconnected.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", *_WINDOW_BITS):
        raise RequestError(
            415,
            f"content encoding {shorten(encoding)} is not supported: use gzip, deflate or identity",
            "unsupported",
        )
    body = await _receive(request, limit)
    return body if encoding == "identity" else decompress(body, encoding, limit)


async def _receive(request: Request, limit: int) -> bytes:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        # The connection reads and discards the body within the time for bodies. A client that
        # sent Expect waits for an answer first and must not start to send.
        headers = {"Connection": "close"} if "expect" in request.headers else {}
        raise RequestError(413, _over_limit(int(length), limit), "too_large", headers)
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large(_over_limit(len(body), limit))
        if not message.get("more_body", False):
            return bytes(body)


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Decompress "gzip" or "deflate", never to more than `limit` bytes.

    "deflate" means zlib's format, but some clients send raw deflate data: both are accepted.

    Raises:
        RequestError: the data is damaged, truncated, followed by other data, or too large.
    """
    bits = _WINDOW_BITS[encoding]
    if encoding == "deflate" and not _has_zlib_header(data):
        bits = _RAW_DEFLATE
    decompressor = zlib.decompressobj(bits)
    try:
        body = decompressor.decompress(data, limit + 1)
    except zlib.error as exc:
        raise bad_request(f"the body is not {encoding}: {exc}") from exc
    if len(body) > limit:
        raise too_large(f"the body decompresses to more than {limit} bytes, the limit")
    if not decompressor.eof:
        raise bad_request(f"the body's {encoding} data is truncated")
    if decompressor.unused_data:
        raise bad_request(f"the body continues after its {encoding} data")
    return body


def _has_zlib_header(data: bytes) -> bool:
    # RFC 1950: compression method 8, and a 16-bit header divisible by 31.
    return len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def _over_limit(size: int, limit: int) -> str:
    return f"the body has {size} bytes or more; at most {limit} are allowed"


def parse_json(data: bytes | memoryview, type_: type[T]) -> T:
    """Parse and validate a JSON body. Raises RequestError (400) with the place and the value."""
    try:
        message: T = _decoder(type_).decode(data)
    except _JSON_ERRORS as exc:
        try:
            content = msgspec.json.decode(data)
        except _JSON_ERRORS as malformed:
            raise bad_request(f"the body is not JSON: {malformed}") from exc
        raise _invalid(exc, content, type_, "the body") from exc
    return message


@functools.cache
def _decoder(type_: type[T]) -> "msgspec.json.Decoder[T]":
    return msgspec.json.Decoder(type_)


def parse_query(request: Request, type_: type[T]) -> T:
    """Parse and validate the parameters of a URL. Raises RequestError (400)."""
    query = request.query_params
    for name in query:
        if len(query.getlist(name)) > 1:
            raise bad_request(f"parameter {shorten(name)} is given more than once")
    return parse_values(dict(query), type_, "the query", strict=False)


def parse_values(values: Mapping[str, Any], type_: type[T], name: str, *, strict: bool = True) -> T:
    """Validate a mapping, called `name` in errors; not `strict`: its values may be strings.

    Raises:
        RequestError: 400, a value is missing, unknown or not allowed.
    """
    try:
        return msgspec.convert(values, type_, strict=strict)
    except msgspec.ValidationError as exc:
        raise _invalid(exc, values, type_, name) from exc


def _invalid(exc: Exception, content: Any, type_: type[msgspec.Struct], name: str) -> RequestError:
    """Say which value is wrong, and what msgspec expected there."""
    reason, _, path = str(exc).partition(" - at `$")
    path = path.rstrip("`")
    for key, index in re.findall(r"\.(\w+)|\[(\d+)\]", path.partition("[...]")[0]):
        content = content[key] if key else content[int(index)]
    if "unknown field" in reason:
        reason += f"; known are {', '.join(type_.__struct_fields__) or 'none'}"
    reason = reason[:1].lower() + reason[1:]
    return bad_request(f"{path.lstrip('.') or name} is {shorten(content)}: {reason}")
