"""Responses: JSON, images in the client's media type, large bodies in chunks, compression."""

import asyncio
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from wgan.files import undated_member
from wgan.images import Pixels, encode, grid
from wgan.server.messages import Error, RequestError
from wgan.text import shorten

PNG, NPY, ZIP = MEDIA_TYPES = ("image/png", "application/x-npy", "application/zip")
"""Media types of images; the first is the default."""

MIN_COMPRESSED_BYTES = 1024

_HIGH_WATER = 64 * 1024
"""Bytes that uvicorn buffers before it waits for the client."""

_THREAD_BYTES = 64 * 1024
"""Compressing more than this would block the event loop for a millisecond or more."""

_WINDOW_BITS = {"gzip": 31, "deflate": 15}

Chunk = bytes | memoryview


class ChunkedResponse(Response):
    """A body in chunks.

    A short body is joined and sent at once. The chunks of a long one are sent without a copy, and
    the response lasts until they are on their way: the empty last message waits until the
    connection's buffer has been flushed. Until then its images count as held.
    """

    def __init__(self, chunks: Sequence[Chunk], headers: Mapping[str, str], status: int = 200):
        self.status_code = status
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


def negotiate(accept: str) -> str:
    """Return the media type of `MEDIA_TYPES` that an Accept header prefers.

    Raises:
        RequestError: 406, none of them is accepted.
    """
    qualities = {media_type: _quality(media_type, accept) for media_type in MEDIA_TYPES}
    best = max(MEDIA_TYPES, key=lambda media_type: qualities[media_type])
    if qualities[best] <= 0:
        raise RequestError(
            406,
            f"Accept is {shorten(accept)}: available are {', '.join(MEDIA_TYPES)}",
            "unacceptable",
        )
    return best


def _quality(media_type: str, accept: str) -> float:
    """Quality of a media type, 0 to 1, from the most specific range that includes it."""
    best = (-1, 0.0)
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        if name == media_type:
            rank = 2
        elif name == f"{media_type.partition('/')[0]}/*":
            rank = 1
        elif name == "*/*":
            rank = 0
        else:
            continue
        quality = next((_number(text[2:]) for text in parameters if text[:2] == "q="), 1.0)
        best = max(best, (rank, quality))
    return best[1]


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0


def encode_images(pixels: Pixels, media_type: str, names: Sequence[str]) -> bytes:
    """Encode `[n, h, w, c]`; `names` are those of an archive's files, without `.png`."""
    if media_type == NPY:
        buffer = io.BytesIO()
        np.save(buffer, pixels, allow_pickle=False)
        return buffer.getvalue()
    if media_type == ZIP:
        return _zip(pixels, names)
    return encode(grid(pixels))


def _zip(pixels: Pixels, names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are compressed
        for name, image in zip(names, pixels, strict=True):
            archive.writestr(undated_member(f"{name}.png"), encode(image))
    return buffer.getvalue()
