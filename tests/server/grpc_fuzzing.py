"""Hostile gRPC calls: each is refused or answered, and the server still draws afterwards.

Mutated messages and random bytes as messages, and bytes that are not HTTP/2. Each case is a
function of its number alone.
"""

import random
import socket
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from tests.runtime import models
from tests.server.grpc_calls import ADDRESS, Client, client_of, seeds_tensor
from tests.server.servers import Server, serving
from wgan.server.grpc.protocol import INFERENCE, request_type

CHECK_EVERY = 100
"""Cases between two good calls."""

SILENCE_S = 5.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""How a client of HTTP/2 begins: its magic bytes and empty settings."""

REFUSALS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

METHODS = ("ModelInfer",) * 6 + ("ModelMetadata", "ModelReady", "ServerMetadata")

NAMES = ("", "seeds", "latents", "labels", "pixels", "x" * 9000, "\x1b[31m", "\0", "é")

SHAPES: tuple[list[int], ...] = (
    [],
    [0],
    [-1],
    [1],
    [2],
    [2, 4],
    [2**62, 2**62],
    [2**63 - 1],
    [1] * 3000,
    [1, 4],
)

DATATYPES = ("", "INT64", "FP32", "UINT32", "UINT8", "BYTES", "FP16", "x" * 9000)


def message(number: int) -> tuple[str, bytes]:
    """The method and the bytes of a case."""
    chance = random.Random(number)
    method = chance.choice(METHODS)
    if chance.random() < 0.1:
        return method, chance.randbytes(chance.choice((1, 10, 1000, 100_000)))
    made: Any = request_type(INFERENCE, method)()
    if method == "ModelInfer":
        _fill(chance, made)
    elif method != "ServerMetadata":
        made.name, made.version = chance.choice(NAMES), chance.choice(NAMES)
    data = bytearray(made.SerializeToString())
    for _ in range(chance.choice((0, 0, 1, 3, 10)) if data else 0):
        place = chance.randrange(len(data))
        kind = chance.randrange(3)
        if kind == 0:
            data[place] = chance.randrange(256)
        elif kind == 1:
            del data[place : place + chance.choice((1, 4, 100))]
        else:
            data[place:place] = chance.randbytes(chance.choice((1, 4, 100)))
        data = data or bytearray(b"\x08")
    return method, bytes(data)


def _fill(chance: random.Random, made: Any) -> None:
    made.model_name = "generator" if chance.random() < 0.95 else chance.choice(NAMES)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 300))):
        tensor = made.inputs.add(
            name=chance.choice(NAMES),
            datatype=chance.choice(DATATYPES),
            shape=chance.choice(SHAPES),
        )
        for field, value in (
            ("int64_contents", chance.choice((0, -1, 2**63 - 1))),
            ("uint_contents", chance.choice((0, 2**32 - 1))),
            ("fp32_contents", chance.choice((0.0, float("nan"), float("inf"), 3e38))),
        ):
            if chance.random() < 0.4:
                count = chance.choice((0, 1, 2, 8, 1000))
                getattr(tensor.contents, field).extend([value] * count)
    for _ in range(chance.choice((0, 0, 1, 2, 300))):
        made.raw_input_contents.append(chance.randbytes(chance.choice((0, 4, 8, 16, 32, 1000))))
    for _ in range(chance.choice((0, 0, 1, 2, 300))):
        made.outputs.add(name=chance.choice(NAMES))
    for name in ("truncation", "binary_data_output", "shared_memory_region"):
        if chance.random() < 0.1:
            made.parameters[name].double_param = chance.choice((0.5, float("nan"), -1e308))


def _fault(server: Server, client: Client, number: int) -> str | None:
    method, data = message(number)
    code = grpc.StatusCode.OK
    try:
        client.raw(method)(data, timeout=60)
    except grpc.RpcError as exc:
        code = exc.code()
    if server.process.poll() is not None:
        return f"the server ended with status {server.process.returncode}"
    return None if code in REFUSALS else f"{code}"


def send_bytes(server: Server, number: int) -> None:
    """Send bytes that are not HTTP/2, or only begin so, and wait until the server closes."""
    chance = random.Random(number)
    data = chance.randbytes(chance.choice((1, 100, 10_000)))
    if chance.random() < 0.7:
        data = PREFACE + data
    host, _, port = server.await_log(ADDRESS)[1].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=SILENCE_S) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:  # refused in the middle
            pass


def run_cases(numbers: range, until: float = float("inf")) -> tuple[int, str | None]:
    """Send cases until a time of `time.monotonic`; return their number and the first fault."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "generator.onnx"
        model.write_bytes(models.generator().SerializeToString())
        with serving(model, "--grpc-port", 0) as server, client_of(server) as client:
            for done, number in enumerate(numbers):
                if time.monotonic() >= until:
                    return done, None
                fault = _fault(server, client, number)
                if fault is None and done % CHECK_EVERY == 0:
                    send_bytes(server, number)
                    assert len(client.infer(seeds_tensor(1)).raw_output_contents) == 2
                log = "\n".join(server.log)
                if "Traceback" in log or "\x1b" in log or len(server.log) > LOG_LINES:
                    fault = f"in the log:\n{log[-3000:]}"
                if fault is not None:
                    return done, f"call {number}: {message(number)}\n{fault}"
    return len(numbers), None


LOG_LINES = 10
"""What a server of one model logs at its start, at most: calls must not add to it."""
