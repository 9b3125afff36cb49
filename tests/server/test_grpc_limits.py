"""Overload, hostile calls, keys, start and stop of the gRPC server, in real processes."""

import gc
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.processes import run, wgan_command
from tests.server.grpc_calls import ADDRESS, Client, array_of, client_of, seeds_tensor
from tests.server.grpc_fuzzing import run_cases
from tests.server.heavy import slow_generator
from tests.server.servers import LISTENING, READY, serving
from wgan.runtime import Generator
from wgan.server.grpc.protocol import request_type

KEY = "a-key-of-thirty-two-characters-0"

INFER = "/inference.GRPCInferenceService/ModelInfer"


def infer_bytes(*seeds: int) -> bytes:
    made = request_type("inference.GRPCInferenceService", "ModelInfer")(
        model_name="generator", inputs=[seeds_tensor(*seeds)], outputs=[{"name": "pixels"}]
    )
    data: bytes = made.SerializeToString()
    return data


def refusal(client: Client, data: bytes, **options: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        client.raw("ModelInfer")(data, **options)
    return caught.value.code(), caught.value.details()


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A generator of about 20 ms for each image."""
    path = tmp_path / "generator.onnx"
    path.write_bytes(slow_generator(4000))
    return path


def test_it_is_live_at_once_and_ready_after_the_first_image(slow: Path) -> None:
    with (
        serving(slow, "--grpc-port", 0, "--threads", 1, wait_for=LISTENING) as server,
        client_of(server) as client,
    ):
        assert client.call("ServerLive").live
        assert not client.call("ServerReady").ready
        assert not client.call("ModelReady", name="generator").ready
        assert client.call("Check").status == 2
        code, details = refusal(client, infer_bytes(1))
        assert (code, "still loading" in details) == (grpc.StatusCode.UNAVAILABLE, True)
        server.await_log(READY)
        assert client.call("ServerReady").ready
        assert client.call("Check").status == 1


def test_a_key_is_needed_except_for_health(model_file: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n")
    with (
        serving(model_file, "--grpc-port", 0, "--api-key-file", keys) as server,
        client_of(server) as client,
    ):
        for name in ("ServerLive", "ServerReady", "Check"):
            client.call(name)
        for metadata in ([], [("x-api-key", "wrong")], [("authorization", f"Basic {KEY}")]):
            code, details = refusal(client, infer_bytes(1), metadata=metadata)
            assert code == grpc.StatusCode.UNAUTHENTICATED
            assert "an API key is needed" in details
        for metadata in ([("x-api-key", KEY)], [("authorization", f"Bearer {KEY}")]):
            client.call("ModelMetadata", metadata, name="generator")


def test_a_full_queue_refuses_and_recovers(slow: Path) -> None:
    limits = ("--max-queue", 8, "--max-images", 8, "--max-batch", 4, "--threads", 1)
    with serving(slow, "--grpc-port", 0, *limits) as server, client_of(server) as client:
        calls = [client.raw("ModelInfer").future(infer_bytes(1, 2), timeout=60) for _ in range(40)]
        codes = [call.code() for call in calls]
        refused = [call for call in calls if call.code() != grpc.StatusCode.OK]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        for call in refused:
            assert "the server is overloaded" in call.details()
            assert int(dict(call.trailing_metadata())["retry-after"]) >= 1
        assert array_of(client.infer(seeds_tensor(1)), "pixels").shape == (1, 8, 8, 3)
        assert server.metric('wgan_rejections_total{reason="overload"}') == len(refused)
        counted = f'wgan_requests_total{{route="{INFER}",status="RESOURCE_EXHAUSTED"}}'
        assert server.metric(counted) == len(refused)


def test_too_large_messages_are_refused_compressed_or_not(model_file: Path) -> None:
    with (
        serving(model_file, "--grpc-port", 0, "--max-body", 10_000) as server,
        client_of(server) as client,
    ):
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            code, details = refusal(client, bytes(20_000), compression=compression)
            assert (code, "larger than max" in details) == (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                True,
            )
        good = client.raw("ModelInfer")(infer_bytes(1), compression=grpc.Compression.Gzip)
        assert good


def test_a_request_that_does_not_come_or_is_empty_is_refused(model_file: Path) -> None:
    with (
        serving(model_file, "--grpc-port", 0, "--body-seconds", 0.2) as server,
        client_of(server) as client,
    ):
        ended = threading.Event()

        def nothing() -> Iterator[bytes]:
            ended.wait()
            yield from ()

        call = client.channel.stream_unary(INFER)
        with pytest.raises(grpc.RpcError) as caught:
            call(nothing())
        ended.set()
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not arrive within 0.2 seconds" in caught.value.details()
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()))
        assert "the call has no request" in caught.value.details()


def test_a_cancelled_call_leaves_the_queue(slow: Path) -> None:
    with (
        serving(slow, "--grpc-port", 0, "--threads", 1, "--max-batch", 4) as server,
        client_of(server) as client,
    ):
        call = client.raw("ModelInfer").future(infer_bytes(*range(200)))
        server.await_metric("wgan_held_images", lambda held: held == 200)
        call.cancel()
        server.await_metric("wgan_held_images", lambda held: held == 0)
        server.await_metric("wgan_queue_images", lambda queued: queued == 0)
        assert server.metric("wgan_dropped_requests_total") == 1


def test_a_response_that_is_not_read_counts_until_its_connection_ends(
    model_file: Path, generator: Generator
) -> None:
    limits = ("--idle-seconds", 3, "--answer-seconds", 3, "--send-seconds", 3)
    with serving(model_file, "--grpc-port", 0, *limits) as server:
        # 256 images of both outputs, typed: more than HTTP/2 sends unread, unless the client's
        # probes of the bandwidth widen the window.
        with client_of(server, **{"grpc.http2.bdp_probe": 0}) as client:
            call = client.channel.stream_stream(INFER)(iter([TYPED]))
            server.await_metric("wgan_held_images", lambda held: held == 256)
            server.await_metric("wgan_held_images", lambda held: held == 0, seconds=30)
            del call
            gc.collect()
        with client_of(server) as client:
            answer = client.infer(seeds_tensor(1))
            np.testing.assert_array_equal(array_of(answer, "pixels"), generator.sample([1]))


TYPED = request_type("inference.GRPCInferenceService", "ModelInfer")(
    model_name="generator", inputs=[seeds_tensor(*range(256))]
).SerializeToString()


def test_sigterm_finishes_running_calls_and_exits_0(slow: Path) -> None:
    with (
        serving(slow, "--grpc-port", 0, "--threads", 1, "--max-batch", 8) as server,
        client_of(server) as client,
    ):
        call = client.raw("ModelInfer").future(infer_bytes(*range(100)))
        server.await_metric("wgan_held_images", lambda held: held == 100)
        assert server.stop() == 0
        assert call.code() == grpc.StatusCode.OK
        code, _ = refusal(client, infer_bytes(1))
        assert code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("how", ["time", "second signal"])
def test_draining_ends(tmp_path: Path, how: str) -> None:
    slow = tmp_path / "generator.onnx"
    slow.write_bytes(slow_generator(50_000))  # 400 images take 25 seconds in batches of 4
    drain = 1 if how == "time" else 60
    limits = ("--threads", 1, "--max-batch", 4, "--drain-seconds", drain)
    with serving(slow, "--grpc-port", 0, *limits) as server, client_of(server) as client:
        calls = [client.raw("ModelInfer").future(infer_bytes(*range(200))) for _ in range(2)]
        server.await_metric("wgan_held_images", lambda held: held == 400)
        server.process.send_signal(signal.SIGTERM)
        if how == "second signal":
            server.await_log("stopping")
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert calls[-1].code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)


def test_hostile_calls_are_refused_and_the_server_still_draws() -> None:
    done, fault = run_cases(range(300))
    assert fault is None
    assert done == 300


def test_a_port_in_use_is_one_sentence(model_file: Path, tmp_path: Path) -> None:
    with serving(model_file, "--grpc-port", 0) as server:
        port = server.await_log(ADDRESS)[1].rpartition(":")[2]
        command = wgan_command("serve", model_file, "--port", 0, "--grpc-port", port)
        done = run(command, tmp_path)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1 port {port} for gRPC" in done.stderr
    assert "Traceback" not in done.stderr
