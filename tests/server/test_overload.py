"""Ten times the requests that the server can answer, as in benchmarks/serving.py."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.load import closed_loop
from tests.server.heavy import slow_generator
from tests.server.servers import Server, resident, seeds_request, serving

QUEUE, CLIENTS, CLIENTS_OVER = 64, 16, 400
BODY = json.dumps(seeds_request(1)).encode()
REQUEST = (
    f"POST /v2/models/generator/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
).encode() + BODY


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Server]:
    path = tmp_path / "generator.onnx"
    path.write_bytes(slow_generator(8000))
    with serving(path, "--threads", 1, "--max-queue", QUEUE, "--max-images", QUEUE) as running:
        yield running


@pytest.mark.slow
def test_overload_is_refused_and_recovers(slow: Server) -> None:
    def ask() -> bytes:
        return REQUEST

    before = asyncio.run(closed_loop(slow.port, [ask] * CLIENTS, 2))
    memory = resident(slow)
    pace = (CLIENTS_OVER - QUEUE) / (10 * before.rate)
    over = asyncio.run(closed_loop(slow.port, [ask] * CLIENTS_OVER, 5, pace=pace))
    grown = resident(slow) - memory
    after = asyncio.run(closed_loop(slow.port, [ask] * CLIENTS, 2, warm_up=1))

    assert sum(over.statuses.values()) / over.seconds > 4 * before.rate
    assert over.statuses.keys() == {200, 503}
    assert (over.lost, before.lost, after.lost) == (0, 0, 0)
    # The queue and the run before it, at half speed: the machine may be busy.
    assert over.percentile(99) < 2 * (QUEUE + 64) / before.rate + 1
    assert grown < 100 * 2**20
    assert after.rate > before.rate / 2
    assert slow.stop() == 0
