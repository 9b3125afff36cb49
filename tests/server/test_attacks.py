"""Hostile input: the cases of Triton's HTTP tests, and more.

Each attack ends within its limits in a refusal, and the server still draws afterwards.
"""

import gzip
import json
import re
import select
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.server.servers import Server, array_of, seeds_request, serving

LIMIT = 200_000
HEADER_SECONDS, BODY_SECONDS = 1, 2
INFER = "/v2/models/generator/infer"


@pytest.fixture(scope="module")
def strict(model_file: Path) -> Iterator[Server]:
    """A server with small limits."""
    with serving(
        model_file,
        *("--max-body", LIMIT, "--max-connections", 20),
        *("--header-seconds", HEADER_SECONDS, "--body-seconds", BODY_SECONDS),
        *("--send-seconds", 1),
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_serves(strict: Server) -> Iterator[None]:
    yield
    assert array_of(strict.infer(seeds_request(1))).shape == (1, 8, 8, 3)


def talk(server: Server, *pieces: bytes, timeout: float = 20) -> bytes:
    """Send bytes as they are, then read until the server closes or is silent for a second."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionResetError:
        pass  # what had arrived before stays valid
    return bytes(received)


def status_and_error(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    content = json.loads(body)
    assert list(content) == ["error"]
    return int(head.split()[1]), content["error"]


def head(path: str = INFER, *lines: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


LONG = [f"X-{number}: {'b' * 1000}" for number in range(70)]
"""Headers of 70 kB."""


# Bodies over the limit.


@pytest.mark.parametrize("path", [INFER, "/v1/models/generator/sample"])
def test_a_body_over_the_limit_is_413(strict: Server, path: str) -> None:
    reply = strict.post(path, b" " * (LIMIT + 1))
    assert reply.status == 413
    assert f"at most {LIMIT}" in reply.error


def test_a_body_over_the_limit_is_refused_before_it_is_sent(strict: Server) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=1) as connection:
        connection.sendall(head(INFER, "Content-Length: 1000000000000"))
        assert connection.recv(20).startswith(b"HTTP/1.1 413")


def test_a_chunked_body_over_the_limit_is_413(strict: Server) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    response = talk(
        strict, head(INFER, "Transfer-Encoding: chunked", "Connection: close"), chunk * 4
    )
    assert status_and_error(response)[0] == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_decompresses_beyond_the_limit_is_413(strict: Server, encoding: str) -> None:
    bomb = b" " * 100_000_000
    packed = gzip.compress(bomb) if encoding == "gzip" else zlib.compress(bomb)
    assert len(packed) < LIMIT
    reply = strict.post(INFER, packed, {"Content-Encoding": encoding})
    assert (reply.status, "decompresses to more" in reply.error) == (413, True)


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"not gzip", "gzip", 400),
        (gzip.compress(b"{}", mtime=0)[:-3], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) * 2, "gzip", 400),
        (b"\xff" * 50, "deflate", 400),
        (b"", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
)
def test_a_damaged_or_unknown_encoding_is_refused(
    strict: Server, body: bytes, encoding: str, status: int
) -> None:
    reply = strict.post(INFER, body, {"Content-Encoding": encoding})
    assert reply.status == status
    assert reply.error


# JSON.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"inputs": NaN}',
        b'{"inputs": [Infinity]}',
        b'{"inputs": [1e999]}',
        b'{"inputs": [1' + b"0" * 5000 + b"]}",
        b"[" * 100_000,
        b"[" * 50_000 + b"]" * 50_000,
        b'{"a":' * 20_000,
        b'{"inputs": "\\ud800"}',
        b'"' + b"\\" * 99_999,
    ],
    ids=["empty", "cut", "bytes", "NaN", "Infinity", "1e999", "digits", "deep, cut", "deep",
         "deep objects", "surrogate", "backslashes"],
)  # fmt: skip
def test_bad_json_is_400_at_once(strict: Server, body: bytes) -> None:
    started = time.monotonic()
    reply = strict.post(INFER, body)
    assert reply.status == 400
    assert reply.error
    assert time.monotonic() - started < 2


def test_deep_nesting_of_data_is_400(strict: Server) -> None:
    data = "[" * 900 + "1" + "]" * 900
    body = (
        '{"inputs":[{"name":"seeds","datatype":"INT64","shape":[1],"data":' + data + "}]}"
    ).encode()
    assert "not nested as its shape" in strict.post(INFER, body).error


def test_a_wrong_value_nested_to_any_depth_is_400(strict: Server) -> None:
    for depth in range(950, 1010):  # around Python's recursion limit
        body = b'{"inputs":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        assert strict.post(INFER, body).status == 400


# Shapes and sizes of binary tensors.


def binary(shape: list[int], size: Any, tail: bytes, datatype: str = "FP32") -> tuple[bytes, str]:
    entry = {
        "name": "latents",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": size},
    }
    text = json.dumps({"inputs": [entry]}).encode()
    return text + tail, str(len(text))


@pytest.mark.parametrize(
    ("shape", "size", "tail"),
    [
        ([2**62, 4], 16, b"\0" * 16),
        ([2**32, 2**32, 2**32], 0, b""),
        ([2**61], 0, b""),
        ([-1, 4], 16, b"\0" * 16),
        ([-1, -16], 16, b"\0" * 16),
        ([1, 4], 16, b"\0" * 15),
        ([1, 4], 16, b"\0" * 17),
        ([1, 4], 15, b"\0" * 15),
        ([1, 4], -16, b"\0" * 16),
        ([1, 4], 2**64, b"\0" * 16),
        ([1, 4], 16.0, b"\0" * 16),
        ([1, 4], True, b"\0" * 16),
        ([1, 4], 16, b"\0\0\xc0\x7f" * 4),  # NaN
        ([1, 4], 16, b"\0\0\x80\xff" * 4),  # -Inf
        ([0, 4], 0, b""),
    ],
)
def test_a_binary_tensor_with_inconsistent_sizes_is_400(
    strict: Server, shape: list[int], size: Any, tail: bytes
) -> None:
    body, length = binary(shape, size, tail)
    reply = strict.post(INFER, body, {"Inference-Header-Content-Length": length})
    assert reply.status == 400
    assert reply.error


@pytest.mark.parametrize(
    "length", ["-1", "0", "1", "999999", "9" * 5000, "1e3", "0x10", "", "+5", "\u0663", "5 5"]
)
def test_a_header_length_out_of_range_is_400(strict: Server, length: str) -> None:
    body, _ = binary([1, 4], 16, b"\0" * 16)
    raw = head(INFER, "Connection: close", f"Content-Length: {len(body)}").removesuffix(b"\r\n")
    raw += b"Inference-Header-Content-Length: " + length.encode() + b"\r\n\r\n" + body
    status, error = status_and_error(talk(strict, raw))
    assert status == 400
    assert error


@pytest.mark.parametrize("output", ["images", "pixels"])
def test_latents_that_overflow_the_model_do_not_affect_other_requests(
    strict: Server, output: str
) -> None:
    entry = {"name": "latents", "datatype": "FP32", "shape": [1, 4], "data": [3e38] * 4}
    evil = {"inputs": [entry], "outputs": [{"name": output}], "parameters": {"truncation": 2}}
    with ThreadPoolExecutor(16) as clients:
        requests = [evil if n % 2 else seeds_request(n, output=output) for n in range(40)]
        replies = list(clients.map(strict.infer, requests))
    assert {reply.status for reply in replies[0::2]} == {200}
    assert {reply.status for reply in replies[1::2]} <= {200, 400}


# Slow, huge and broken requests.


def test_a_million_tiny_chunks_are_read(strict: Server) -> None:
    body = json.dumps(seeds_request(1)).encode()
    body += b" " * (150_000 - len(body))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    response = talk(
        strict,
        head(INFER, "Transfer-Encoding: chunked", "Connection: close"),
        chunks + b"0\r\n\r\n",
    )
    assert response.startswith(b"HTTP/1.1 200")


def test_a_million_tiny_chunks_over_the_limit_are_refused(strict: Server) -> None:
    chunks = [b"1\r\n \r\n" * 10_000] * 100
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.sendall(head(INFER, "Transfer-Encoding: chunked"))
        for piece in [*chunks, b"0\r\n\r\n"]:
            connection.sendall(piece)
        assert connection.recv(20).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", 408),
        (b"POST /v2", 408),
        (b"POST /v2/models/generator/infer HTTP/1.1\r\nHost: x\r\nX-A: b\r\n", 408),
        (head(INFER, "Content-Length: 100") + b'{"inputs":', 408),
        (head(INFER, "Transfer-Encoding: chunked") + b"5\r\nab", 408),
    ],
    ids=["nothing", "a line", "headers", "body", "chunk"],
)
def test_a_request_that_never_completes_times_out(
    strict: Server, begun: bytes, status: int
) -> None:
    started = time.monotonic()
    found, error = status_and_error(talk(strict, begun))
    assert (found, "did not arrive within" in error) == (status, True)
    assert time.monotonic() - started < HEADER_SECONDS + BODY_SECONDS + 3


def test_a_body_that_trickles_in_after_its_response_times_out(strict: Server) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.sendall(head("/v2", "Content-Length: 1000000", method="GET"))
        started = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(connection, until=started + BODY_SECONDS + 5)
        assert time.monotonic() - started < BODY_SECONDS + 3


def trickle(connection: socket.socket, until: float) -> None:
    """Send a few bytes at a time, slowly."""
    while time.monotonic() < until:
        connection.sendall(b"x" * 100)
        select.select([], [], [], 0.05)


def read_response(connection: socket.socket) -> bytes:
    """Read one response, whose body has a Content-Length."""
    received = b""
    while (found := re.search(rb"content-length: (\d+)", received)) is None or (
        len(received.partition(b"\r\n\r\n")[2]) < int(found[1])
    ):
        data = connection.recv(65536)
        assert data, received
        received += data
    return received


@pytest.mark.parametrize(
    ("request_", "then"),
    [
        (head("/v2", method="GET"), b"\r\n"),
        (head("/v2", method="GET"), b"\r\n\r\nGE"),
        (head(INFER, f"Content-Length: {LIMIT + 1}"), b" " * (LIMIT + 1)),
        (head("/v2", "Connection: Upgrade", "Upgrade: websocket", method="GET"), b"\x81\x00"),
    ],
    ids=["an empty line", "empty lines and a request", "a refused body", "an upgrade"],
)
def test_what_arrives_after_a_response_cannot_keep_a_connection(
    strict: Server, request_: bytes, then: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.sendall(request_)
        read_response(connection)
        connection.sendall(then)
        status, _ = status_and_error(read_all(connection))  # returns once the server closes
        assert status in (400, 408)


def test_a_closing_connection_does_not_wait_for_a_client_that_stops_reading(
    strict: Server,
) -> None:
    body = json.dumps(seeds_request(*range(256), output="images")).encode()
    answered = 'wgan_requests_total{route="/v2/models/{model}/infer"'
    strict.infer(seeds_request(1))  # the metric exists
    before = strict.metric(answered)
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(INFER, f"Content-Length: {len(body)}", "Connection: close") + body)
        while strict.metric(answered) == before:  # until all is written or in a buffer
            connection.recv(16_384)
        strict.await_metric("wgan_connections", lambda count: count == 1)  # that of the question


@pytest.mark.parametrize(
    "pieces",
    [
        [head("/v2", *LONG, method="GET")],
        [head("/v2", *LONG[:40], method="GET").removesuffix(b"\r\n"),
         "\r\n".join([*LONG[40:], "", ""]).encode()],
        [head(INFER, "Transfer-Encoding: chunked"), b"0\r\n", "\r\n".join(LONG).encode()],
        [head("/" + "a" * 70_000, method="GET")],
    ],
    ids=["at once", "in two parts", "as trailers", "a long address"],
)  # fmt: skip
def test_the_limit_of_headers_holds_however_they_arrive(
    strict: Server, pieces: list[bytes]
) -> None:
    response = talk(strict, *pieces)
    assert b"HTTP/1.1 431" in response
    assert b"headers have more than" in response


def test_headers_within_the_limit_are_accepted_however_they_arrive(strict: Server) -> None:
    whole = head("/v2", "Connection: close", *LONG[:60], method="GET")
    for pieces in ([whole], [whole[at : at + 999] for at in range(0, len(whole), 999)]):
        assert talk(strict, *pieces).startswith(b"HTTP/1.1 200")


def test_trailers_are_not_headers(strict: Server) -> None:
    body = b"5\r\n{    \r\n0\r\nContent-Encoding: br\r\nX: y\r\n\r\n"
    request = head(INFER, "Transfer-Encoding: chunked", "Connection: close") + body
    assert status_and_error(talk(strict, request))[0] == 400  # not 415


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.0\r\n\r\n", 200),
        (b"GET /v2 HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v2 HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n", 200),
    ],
)
def test_a_request_needs_one_host(strict: Server, request_: bytes, status: int) -> None:
    response = talk(strict, request_)
    assert response.startswith(b"HTTP/1.1 %d" % status)
    assert status == 200 or b"Host header" in response


@pytest.mark.parametrize(
    "flood",
    [b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 10_000, b"GET /" + b"a" * 100_000],
    ids=["many headers", "a long address"],
)
def test_endless_headers_are_431(strict: Server, flood: bytes) -> None:
    status, error = status_and_error(talk(strict, flood))
    assert (status, "headers have more than" in error) == (431, True)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,  # TLS
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        head(INFER, "Content-Length: -5"),
        head(INFER, "Content-Length: 5", "Content-Length: 6"),
        head(INFER, "Content-Length: 5", "Transfer-Encoding: chunked"),
        head(INFER, "Transfer-Encoding: chunked") + b"ffffffffffffffffffff\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400(strict: Server, garbage: bytes) -> None:
    status, error = status_and_error(talk(strict, garbage))
    assert status == 400
    assert error


@pytest.mark.parametrize(
    "refused", [b"GET\r\n\r\n", head("/v2", *LONG, method="GET")], ids=["no HTTP", "headers"]
)
def test_requests_before_one_that_is_refused_are_answered(strict: Server, refused: bytes) -> None:
    body = json.dumps(seeds_request(*range(64))).encode()
    good = head(INFER, f"Content-Length: {len(body)}") + body
    response = talk(strict, good + good + refused)
    assert response.count(b"HTTP/1.1 200") == 2
    assert response.count(b"HTTP/1.1") == 2


def test_a_client_that_leaves_its_pipelined_requests_is_no_error_of_the_server(
    strict: Server,
) -> None:
    body = json.dumps(seeds_request(*range(64))).encode()
    good = head(INFER, f"Content-Length: {len(body)}") + body
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
            linger = struct.pack("ii", 1, 0)  # closing resets the connection
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.sendall(good * 3)
    strict.await_metric("wgan_connections", lambda count: count == 1)
    strict.await_metric("wgan_held_images", lambda held: held == 0)
    assert "Traceback" not in "\n".join(strict.log)


@pytest.mark.parametrize(
    "path", ["//etc/passwd", "/%00", "/..;/", "/%ff%fe", "*", "/v2/models/%20"]
)
def test_strange_addresses_are_404(strict: Server, path: str) -> None:
    status, error = status_and_error(talk(strict, head(path, "Connection: close", method="GET")))
    assert status == 404
    assert error


def test_connections_over_the_limit_are_turned_away(strict: Server) -> None:
    idle = [socket.create_connection(("127.0.0.1", strict.port), timeout=20) for _ in range(25)]
    try:
        turned_away = [status_and_error(read_all(connection)) for connection in idle[20:]]
    finally:
        for connection in idle:
            connection.close()
    assert {status for status, _ in turned_away} == {503}
    # The server notices closed connections with a delay.
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if strict.get("/v2/health/live").status == 200:
                break
        except ConnectionError:
            pass


def test_a_client_that_does_not_read_its_responses_is_disconnected(strict: Server) -> None:
    ask = json.dumps(seeds_request(*range(256), output="images")).encode()
    request = head(INFER, f"Content-Length: {len(ask)}") + ask
    answered = 'wgan_requests_total{route="/v2/models/{model}/infer"'
    before = strict.metric(answered)
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request * 20)
        strict.await_metric(answered, lambda count: count > before)
        strict.await_metric("wgan_connections", lambda count: count == 1)  # that of the question
    assert strict.metric("wgan_held_images") == 0
