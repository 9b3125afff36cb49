"""Calls of gRPC's service with grpcio alone, and the messages that they send."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from tests.server.servers import Server
from wgan.server.grpc.protocol import HEALTH, INFERENCE, message, request_type

ADDRESS = r"gRPC at ([^ ]+)"

RESPONSES = {
    "Check": "grpc.health.v1.HealthCheckResponse",
    **{
        name: f"inference.{name}Response"
        for name in (
            *("ServerLive", "ServerReady", "ServerMetadata"),
            *("ModelReady", "ModelMetadata", "ModelInfer"),
        )
    },
}


@dataclass(frozen=True)
class Client:
    """One connection; a call with keyword arguments sends its message, with bytes those bytes."""

    channel: grpc.Channel

    def raw(self, name: str) -> Any:
        service = HEALTH if name == "Check" else INFERENCE
        return self.channel.unary_unary(f"/{service}/{name}")

    def call(self, name: str, /, metadata: Any = None, **fields: Any) -> Any:
        made = request_type(HEALTH if name == "Check" else INFERENCE, name)(**fields)
        data = self.raw(name)(made.SerializeToString(), metadata=metadata, timeout=60)
        return message(RESPONSES[name]).FromString(data)

    def infer(self, *tensors: dict[str, Any], **fields: Any) -> Any:
        return self.call("ModelInfer", model_name="generator", inputs=tensors, **fields)


@contextlib.contextmanager
def client_of(server: Server, **options: int) -> Iterator[Client]:
    """Connect to a server; `options` are gRPC's."""
    address = server.await_log(ADDRESS)[1]
    chosen = [("grpc.max_receive_message_length", -1), *options.items()]
    with grpc.insecure_channel(address, options=chosen) as channel:
        yield Client(channel)


def seeds_tensor(*seeds: int) -> dict[str, Any]:
    """The input `seeds` with typed contents."""
    contents = {"int64_contents": seeds}
    return {"name": "seeds", "datatype": "INT64", "shape": [len(seeds)], "contents": contents}


def latents_tensor(rows: np.ndarray) -> dict[str, Any]:
    """The input `latents` without its values."""
    return {"name": "latents", "datatype": "FP32", "shape": rows.shape}


def array_of(response: Any, output: str) -> np.ndarray:
    """An output of a ModelInferResponse, raw or typed."""
    number = [tensor.name for tensor in response.outputs].index(output)
    tensor = response.outputs[number]
    dtype, field = {
        "UINT8": (np.uint8, "uint_contents"),
        "FP32": (np.float32, "fp32_contents"),
    }[tensor.datatype]
    if response.raw_output_contents:
        assert not tensor.HasField("contents")
        return np.frombuffer(response.raw_output_contents[number], dtype).reshape(tensor.shape)
    return np.array(getattr(tensor.contents, field), dtype).reshape(tensor.shape)
