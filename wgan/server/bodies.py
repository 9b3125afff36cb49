"""Request bodies, read and parsed within limits, and response bodies: JSON, images, compression."""

import asyncio
import functools
import io
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wgan.files import undated_member
from wgan.images import Pixels, encode, grid
from wgan.server.messages import Error, RequestError, bad_request
from wgan.text import shorten

PNG, NPY, ZIP = MEDIA_TYPES = ("image/png", "application/x-npy", "application/zip")
"""Media types of images; the first is the default."""

MIN_COMPRESSED_BYTES = 1024

_HIGH_WATER = 64 * 1024
"""Bytes that uvicorn buffers before it waits for the client."""

_THREAD_BYTES = 64 * 1024
"""Compressing more than this would block the event loop for a millisecond or more."""

Chunk = bytes | memoryview

_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""zlib's `wbits`: with a gzip header and trailer, or with zlib's own."""

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
    over_limit = "the body has {} bytes or more; at most {} are allowed"
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit:
        # The connection reads and discards the body within the time for bodies. A client that
        # sent Expect waits for an answer first and must not start to send.
        headers = {"Connection": "close"} if "expect" in request.headers else {}
        raise RequestError(413, over_limit.format(int(length), limit), "too_large", headers)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise RequestError(413, over_limit.format(len(body), limit), "too_large")
    return bytes(body) if encoding == "identity" else _decompress(bytes(body), encoding, limit)


def _decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Decompress "gzip" or "deflate", never to more than `limit` bytes."""
    bits = _WINDOW_BITS[encoding]
    # "deflate" means zlib's format, but some clients send raw deflate data. RFC 1950: zlib's header
    # has compression method 8, and its 16 bits are divisible by 31.
    is_zlib = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    if encoding == "deflate" and not is_zlib:
        bits = -15
    decompressor = zlib.decompressobj(bits)
    try:
        body = decompressor.decompress(data, limit + 1)
    except zlib.error as exc:
        raise bad_request(f"the body is not {encoding}: {exc}") from exc
    if len(body) > limit:
        message = f"the body decompresses to more than {limit} bytes, the limit"
        raise RequestError(413, message, "too_large")
    if not decompressor.eof:
        raise bad_request(f"the body's {encoding} data is truncated")
    if decompressor.unused_data:
        raise bad_request(f"the body continues after its {encoding} data")
    return body


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


class ChunkedResponse(Response):
    """A body in chunks.

    A short body is joined and sent at once. The chunks of a long one are sent without a copy, and
    the response lasts until they are on their way: the empty last message waits until the
    connection's buffer has been flushed. Until then its images count as held.
    """

    def __init__(self, chunks: Sequence[Chunk], headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        size = sum(map(len, chunks))
        self._chunks = chunks if size > _HIGH_WATER else [b"".join(chunks)]
        self.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (*headers.items(), ("content-length", str(size)))
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        if len(self._chunks) == 1 and len(self._chunks[0]) <= _HIGH_WATER:
            await send({"type": "http.response.body", "body": self._chunks[0]})
            return
        for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def json_response(
    message: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Respond with a message of `wgan.server.messages`."""
    return Response(msgspec.json.encode(message), status, headers, "application/json")


def error_response(error: RequestError) -> Response:
    """Respond with `{"error": ...}`."""
    return json_response(Error(error.message), error.status, error.headers)


async def compressed(
    request: Request, chunks: Sequence[Chunk], headers: dict[str, str]
) -> Response:
    """Respond with `chunks`, compressed if the client's Accept-Encoding has gzip or deflate."""
    headers = {**headers, "vary": "accept-encoding"}
    encoding = accepted_encoding(request.headers.get("accept-encoding", ""))
    size = sum(map(len, chunks))
    if encoding is None or size < MIN_COMPRESSED_BYTES:
        return ChunkedResponse(chunks, headers)
    if size < _THREAD_BYTES:
        body = _compress(chunks, encoding)
    else:
        body = await asyncio.to_thread(_compress, chunks, encoding)
    return ChunkedResponse([body], {**headers, "content-encoding": encoding})


def accepted_encoding(header: str) -> str | None:
    """Return gzip, else deflate, else None; of quality values only 0 counts, which forbids."""
    allowed = set()
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        if parameter.replace(" ", "").rstrip("0") not in ("q=", "q=0."):
            allowed.add(name.strip())
    return next((name for name in _WINDOW_BITS if name in allowed), None)


def _compress(chunks: Sequence[Chunk], encoding: str) -> bytes:
    # Level 1, the fastest: higher levels hardly shrink images further.
    compressor = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS[encoding])
    return b"".join([*(compressor.compress(chunk) for chunk in chunks), compressor.flush()])


def has_tag(request: Request, etag: str) -> bool:
    """Whether the client has what `etag` names.

    Tags are compared weakly (RFC 9110, 13.1.2): a proxy that compresses makes them weak.
    """
    known = request.headers.get("if-none-match", "").split(",")
    return bool({tag.strip().removeprefix("W/") for tag in known} & {etag, "*"})


def negotiate(accept: str) -> str:
    """Return the media type of `MEDIA_TYPES` that an Accept header prefers.

    Raises:
        RequestError: 406, none of them is accepted.
    """
    best = max(MEDIA_TYPES, key=lambda media_type: _quality(media_type, accept))  # first of equals
    if _quality(best, accept) <= 0:
        raise RequestError(
            406,
            f"Accept is {shorten(accept)}: available are {', '.join(MEDIA_TYPES)}",
            "unacceptable",
        )
    return best


def _quality(media_type: str, accept: str) -> float:
    """Quality of a media type, 0 to 1, from the most specific range that includes it."""
    ranges = ["*/*", f"{media_type.partition('/')[0]}/*", media_type]
    best = (-1, 0.0)
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name in ranges:
            number = next((text[2:] for text in parameters if text[:2] == "q="), "1")
            try:
                quality = min(1.0, max(0.0, float(number)))
            except ValueError:
                quality = 0.0
            best = max(best, (ranges.index(name), quality))
    return best[1]


def encode_images(pixels: Pixels, media_type: str, names: Sequence[str]) -> bytes:
    """Encode `[n, h, w, c]`; `names` are those of an archive's files, without `.png`."""
    if media_type == NPY:
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        return buffer.getvalue()
    if media_type == ZIP:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
            for name, image in zip(names, pixels, strict=True):
                archive.writestr(undated_member(f"{name}.png"), encode(image))
        return buffer.getvalue()
    return encode(grid(pixels))
