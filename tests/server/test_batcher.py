"""Batching: requests that share runs, are split, dropped or refused, over HTTP."""

import json
import math
import random
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.server.heavy import slow_generator
from tests.server.servers import Server, array_of, resident, seeds_request, serving
from wgan.runtime import Generator
from wgan.server.config import ServeConfig

INFER = "/v2/models/generator/infer"
DRAWN = 'wgan_images_total{model="generator"}'
RUNS = 'wgan_batch_images_count{model="generator"}'
DROPPED = "wgan_dropped_requests_total"
WAITING = 'wgan_queue_images{model="generator"}'


@pytest.fixture(scope="module")
def slow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 5 ms per image, more on a busy machine."""
    path = tmp_path_factory.mktemp("slow") / "generator.onnx"
    path.write_bytes(slow_generator(6000))
    return path


@pytest.fixture(scope="module")
def slow(slow_file: Path) -> Iterator[Server]:
    options = ("--max-batch", 8, "--max-queue", 100, "--max-images", 100, "--threads", 1)
    with serving(slow_file, *options) as running:
        yield running


def request(content: object, padding: int = 0) -> tuple[bytes, bytes]:
    """An infer request in bytes: head, and body followed by `padding` spaces."""
    body = json.dumps(content).encode() + b" " * padding
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


def test_hundreds_of_mixed_requests_at_once_each_get_their_own_images(
    server: Server, generator: Generator
) -> None:
    draw = random.Random(1)
    requests = [
        [draw.randrange(2**32) for _ in range(draw.choice([1, 1, 1, 2, 3, 7, 20, 100]))]
        for _ in range(400)
    ]
    before = server.metric(DRAWN), server.metric(RUNS)

    def ask(seeds: list[int]) -> int:
        reply = server.infer(seeds_request(*seeds))
        while reply.status == 503:  # the queue is bounded: try again
            reply = server.infer(seeds_request(*seeds))
        expected = generator.sample(seeds, 1)
        return int(np.abs(array_of(reply).astype(int) - expected).max())

    with ThreadPoolExecutor(32) as clients:
        assert max(clients.map(ask, requests)) <= 1
    assert server.metric(DRAWN) - before[0] == sum(map(len, requests))
    alone = sum(math.ceil(len(seeds) / ServeConfig.max_batch) for seeds in requests)
    assert server.metric(RUNS) - before[1] < alone  # some requests shared a run


def test_waiting_requests_share_a_run(slow: Server) -> None:
    runs, drawn = slow.metric(RUNS), slow.metric(DRAWN)
    with ThreadPoolExecutor(17) as clients:
        list(clients.map(lambda seed: slow.infer(seeds_request(seed)), range(17)))
    # The first runs by itself; sixteen wait and fill two runs of eight. Late ones may add runs.
    assert slow.metric(RUNS) - runs <= 8
    assert slow.metric(DRAWN) - drawn == 17


def test_a_large_request_is_split(slow: Server, slow_file: Path) -> None:
    runs = slow.metric(RUNS)
    pixels = array_of(slow.infer(seeds_request(*range(20))))
    assert slow.metric(RUNS) - runs == 3  # 8, 8 and 4
    expected = Generator(slow_file, threads=1).sample(range(20))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_requests_for_floats_and_for_pixels_share_a_run(slow: Server, slow_file: Path) -> None:
    with ThreadPoolExecutor(8) as clients:
        replies = list(
            clients.map(
                lambda n: slow.infer(seeds_request(n, output=("images", "pixels")[n % 2])), range(8)
            )
        )
    for n, reply in enumerate(replies):
        (entry,) = reply.json()["outputs"]
        assert entry["name"] == ("images", "pixels")[n % 2]
        assert entry["shape"] == [[1, 3, 8, 8], [1, 8, 8, 3]][n % 2]


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (INFER, seeds_request(*range(60)), 503),
        ("/v1/models/generator/sample", {"seeds": "0-59"}, 429),
    ],
)
def test_a_full_queue_refuses_at_once_with_retry_after(
    slow: Server, path: str, content: object, status: int
) -> None:
    slow.infer({})  # the metric exists
    refusals = "wgan_rejections_total{reason="
    before = slow.metric(refusals)
    with ThreadPoolExecutor(1) as clients:
        long = clients.submit(slow.infer, seeds_request(*range(100)))
        slow.await_metric(WAITING, lambda waiting: waiting > 50)
        refused = slow.post(path, content)
        assert not long.done()
        assert refused.status == status
        assert int(refused.headers["retry-after"]) >= 1
        assert "images are queued" in refused.error
        assert long.result().status == 200
    assert slow.metric(refusals) - before == 1
    assert slow.post(path, content).status == 200


@pytest.mark.parametrize("padding", [0, 300_000], ids=["short", "long"])
def test_a_request_whose_client_disconnects_leaves_the_queue(slow: Server, padding: int) -> None:
    drawn, dropped = slow.metric(DRAWN), slow.metric(DROPPED)
    busy = threading.Thread(target=slow.infer, args=[seeds_request(*range(50))])
    busy.start()
    slow.await_metric(WAITING, lambda waiting: waiting > 0)
    with socket.create_connection(("127.0.0.1", slow.port)) as gone:
        head, body = request(seeds_request(*range(40)), padding)
        gone.sendall(head)
        slow.get("/v2/health/live")  # so that the body comes while the server waits for it
        gone.sendall(body)
        slow.await_metric(WAITING, lambda waiting: waiting > 45)
    slow.await_metric(DROPPED, lambda count: count == dropped + 1)
    busy.join()
    assert slow.metric(DRAWN) - drawn == 50
    assert slow.metric(WAITING) == 0


def test_a_client_that_disconnects_while_waiting_for_others_affects_no_other(
    slow_file: Path,
) -> None:
    with serving(slow_file, "--threads", 1, "--max-batch", 16, "--max-wait", 500) as patient:
        with ThreadPoolExecutor(5) as clients:
            # Four that wait for a large one share a run, so that the next one waits for others.
            clients.submit(patient.infer, seeds_request(*range(48)))
            patient.await_metric("wgan_held_images", lambda held: held == 48)
            crowd = [clients.submit(patient.infer, seeds_request(seed)) for seed in range(4)]
            patient.await_metric(WAITING, lambda waiting: waiting == 4)
            assert {each.result().status for each in crowd} == {200}
        with socket.create_connection(("127.0.0.1", patient.port)) as gone:
            gone.sendall(b"".join(request(seeds_request(1))))
            patient.await_metric(WAITING, lambda waiting: waiting == 1)
        patient.await_metric(DROPPED, lambda dropped: dropped == 1)
        over = time.monotonic() + 0.6  # the wait ends with an empty queue
        while time.monotonic() < over:
            assert patient.get("/v2/health/live").status == 200
        assert patient.infer(seeds_request(2)).status == 200


def test_a_single_request_does_not_wait_for_others(model_file: Path, generator: Generator) -> None:
    with serving(model_file, "--max-wait", 1000) as patient:
        for seed in range(5):
            started = time.monotonic()
            assert patient.infer(seeds_request(seed)).status == 200
            assert time.monotonic() - started < 1


def test_memory_stays_flat_under_requests_of_all_sizes(model_file: Path) -> None:
    draw = random.Random(2)
    with serving(model_file) as server, ThreadPoolExecutor(8) as clients:

        def ask(count: int) -> None:
            output = draw.choice(["images", "pixels"])
            assert server.infer(seeds_request(*range(count), output=output)).status in (200, 503)

        list(clients.map(ask, [draw.randint(1, 256) for _ in range(60)]))
        before = resident(server)
        list(clients.map(ask, [draw.randint(1, 256) for _ in range(150)]))
        assert resident(server) - before < 50 * 2**20
