"""Closed-loop clients for load tests: each sends its next request after the last response.

The clients share the machine with the server and must cost little: they send prepared bytes and
parse only the status and the length of a response.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Load:
    """Results, from the start of the measurement."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)  # seconds, of responses with status 200
    statuses: dict[int, int] = field(default_factory=dict)
    lost: int = 0  # connections that closed without a response

    @property
    def rate(self) -> float:
        """Responses with status 200 per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, q: float) -> float:
        """A percentile of the latencies, in seconds."""
        return float(np.percentile(self.latencies, q)) if self.latencies else float("nan")


class Client(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(
        self, make: Callable[[], bytes], load: Load, state: dict[str, bool], pace: float
    ) -> None:
        self._make = make
        self._pace = pace
        self._load = load
        self._state = state
        self._buffer = bytearray()
        self._sent = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        if self._transport.is_closing() or self._state["stopped"]:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._make())

    def data_received(self, data: bytes) -> None:
        """Collect a response; once complete, send the next request."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._count(int(head[9:12]))
        self._buffer.clear()
        if self._state["stopped"]:
            self._transport.close()
        else:
            pause = self._sent + self._pace - time.perf_counter()
            if pause > 0:
                asyncio.get_running_loop().call_later(pause, self._send)
            else:
                self._send()

    def _count(self, status: int) -> None:
        if not self._state["measuring"]:
            return
        statuses = self._load.statuses
        statuses[status] = statuses.get(status, 0) + 1
        if status == 200:
            self._load.latencies.append(time.perf_counter() - self._sent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a connection that the server closed."""
        if not self._state["stopped"]:
            self._load.lost += 1
        if not self.over.done():
            self.over.set_result(None)


async def closed_loop(
    port: int,
    makers: Sequence[Callable[[], bytes]],
    seconds: float,
    warm_up: float = 1.0,
    pace: float = 0.0,
) -> Load:
    """Run one client for each of `makers`, which make its requests, for `seconds`.

    A client sends its next request once it has the response, and at least `pace` seconds after
    the previous request.
    """
    loop = asyncio.get_running_loop()
    load, state = Load(), {"measuring": False, "stopped": False}
    clients = []
    for make in makers:
        start = functools.partial(Client, make, load, state, pace)
        clients.append((await loop.create_connection(start, "127.0.0.1", port))[1])
    await asyncio.sleep(warm_up)
    state["measuring"] = True
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    state["measuring"] = False
    load.seconds = time.perf_counter() - started
    state["stopped"] = True
    await asyncio.wait([client.over for client in clients], timeout=30)
    return load
