"""Hostile requests: each is refused or answered, and the server still draws afterwards.

Mutated HTTP/1.1 bytes, JSON and bodies of the Open Inference Protocol. Each case is a function of
its number alone.
"""

import base64
import json
import random
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.runtime import models
from tests.server.servers import Server, array_of, seeds_request, serving

SILENCE_S = 5.0
"""A server that neither answers nor closes for this time is waiting for the rest of a request."""

CHECK_EVERY = 100
"""Cases between two good requests."""

ALLOWED = {501, 503, 505}
"""Refusals that say what the server lacks or that it is busy; every other 5xx is a fault."""

PATHS = (
    *("/", "/docs", "/metrics", "/openapi.json", "/v1/models", "/v2", "/v2/health/ready"),
    *("/v1/models/generator/sample", "/v2/models/generator/infer", "/v2/models/generator"),
    *("/v1/models/generator/sample?seeds=0-3", "/v2/models/%67enerator/ready", "/page/%2e%2e/x"),
    *("/v1/models/" + "x" * 9000, "/v2/models/\x1b[31m/infer", "//", "*", "http://x/v2"),
)

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 2**31, 2**64, 10**400, 1e308, -0.0, "", "x", "0-3", "\ud800", [], {}),
    *([0], [[0]], [-1], [1.5], ["a"], {"a": 1}, "nan", "0-99999999999", [0] * 100, float("nan")),
)

HEADERS = (
    *(
        "Content-Length: 0",
        "Content-Length: -1",
        "Content-Length: 5",
        "Content-Length: 99999999999",
    ),
    *("Content-Length: 1, 2", "Transfer-Encoding: chunked", "Transfer-Encoding: x", "Host: x"),
    *("Host:", "Connection: close", "Connection: upgrade", "Upgrade: websocket", "Expect: x"),
    *(
        "Expect: 100-continue",
        "Content-Type: application/json",
        "Content-Type: \xff",
        "Accept: */*",
    ),
    *("Accept: image/png;q=nan", "Content-Encoding: gzip", "Inference-Header-Content-Length: 7"),
    *("Inference-Header-Content-Length: -1", "Authorization: Bearer", "Range: bytes=5-1"),
    *("If-None-Match: *", ": x", "x", " x: y", "X: " + "y" * 70_000, "X: a\tb", "\x00: y"),
)


def request(number: int) -> bytes:
    """The bytes of a case."""
    chance = random.Random(number)
    method = chance.choice(("GET", "POST", "POST", "POST", "PUT", "HEAD", "OPTIONS", "get", "\x16"))
    body = _body(chance) if method == "POST" or chance.random() < 0.1 else b""
    headers = ["Host: x"] if chance.random() < 0.9 else []
    if body and chance.random() < 0.9:
        headers.append(f"Content-Length: {len(body)}")
    headers += [chance.choice(HEADERS) for _ in range(chance.choice((0, 0, 1, 2)))]
    path = chance.choice(PATHS)
    if method == "POST" and chance.random() < 0.8:
        path = chance.choice(PATHS[7:9])
    version = chance.choice(("HTTP/1.1",) * 9 + ("HTTP/1.0", "HTTP/2.0", "HTTP/9", ""))
    head = "\r\n".join([f"{method} {path} {version}", *headers, "", ""])
    data = bytearray(head.encode("latin-1", "replace") + body)
    for _ in range(chance.choice((0, 0, 0, 1, 2, 8))):
        place = chance.randrange(len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] = chance.choice((0, 10, 13, 32, 58, 127, 255, data[place] ^ 1))
        elif kind == 1:
            del data[place : place + chance.choice((1, 1, 4, 100))]
        elif kind == 2:
            data[place:place] = chance.choice((b"\r\n", b"\n", b"\x00", b"\r\n\r\n", b"0" * 300))
        else:
            data += data[:place]
        data = data or bytearray(b"\r\n")
    return bytes(data)


def _body(chance: random.Random) -> bytes:
    content: Any = chance.choice(
        (
            {"seeds": [0, 1]},
            {"n": 2, "seed": 3, "format": "png", "truncation": 0.7, "grid": "1x2"},
            seeds_request(0, 1),
            {
                "inputs": [
                    {"name": "latents", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}
                ],
                "outputs": [{"name": "images", "parameters": {"binary_data": True}}],
            },
        )
    )
    content = json.loads(json.dumps(content))
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        content = _changed(chance, content)
    text = json.dumps(content)
    if chance.random() < 0.1:
        depth = chance.choice((10, 600, 100_000))
        text = text.replace("0", "[" * depth + "0" + "]" * depth, 1)
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.05:
        data = base64.b64encode(data)
    return data


def _changed(chance: random.Random, content: Any) -> Any:
    """Replace, add or remove a value anywhere."""
    if isinstance(content, dict) and content and chance.random() < 0.8:
        key = chance.choice(list(content))
        what = chance.randrange(4)
        if what == 0:
            return {name: value for name, value in content.items() if name != key}
        if what == 1:
            return {**content, f"{key}x": chance.choice(VALUES)}
        return {**content, key: _changed(chance, content[key])}
    if isinstance(content, list) and content and chance.random() < 0.7:
        place = chance.randrange(len(content))
        return [*content[:place], _changed(chance, content[place]), *content[place + 1 :]]
    return chance.choice(VALUES)


def answer(server: Server, data: bytes) -> bytes | None:
    """Send bytes; return what the server says before it closes or falls silent."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=SILENCE_S) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            return None
        except OSError:  # refused in the middle: a reset, or ENOTCONN from shutdown
            pass
    return bytes(received)


def _fault(server: Server, number: int) -> str | None:
    reply = answer(server, request(number))
    if server.process.poll() is not None:
        return f"the server ended with status {server.process.returncode}"
    if reply is None:
        return f"no answer in {SILENCE_S:g} s, though the request had ended"
    first = reply.partition(b"\r\n")[0].split()
    if reply and (len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit()):
        return f"not HTTP: {reply[:100]!r}"
    if reply and int(first[1]) >= 500 and int(first[1]) not in ALLOWED:
        return reply[:500].decode("latin-1")
    return None


def run_cases(numbers: range, until: float = float("inf")) -> tuple[int, str | None]:
    """Send cases until a time of `time.monotonic`; return their number and the first fault."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "generator.onnx"
        model.write_bytes(models.generator().SerializeToString())
        with serving(model) as server:
            for done, number in enumerate(numbers):
                if time.monotonic() >= until:
                    return done, None
                fault = _fault(server, number)
                if fault is None and done % CHECK_EVERY == 0:
                    array_of(server.infer(seeds_request(1)))
                log = "\n".join(server.log)
                if "Traceback" in log or "\x1b" in log:
                    fault = f"in the log:\n{log[-3000:]}"
                if fault is not None:
                    return done, f"request {number}: {request(number)[:500]!r}\n{fault}"
    return len(numbers), None
