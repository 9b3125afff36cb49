"""Waiting requests joined into batches of images, drawn by one thread.

What is batched are images, not requests: several small requests share a run, a large one takes
several. A request that comes alone never waits for company; one that comes among others waits
`max_wait` at most. The thread runs batches one after the other: two at once would share the same
cores and both be late.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from wgan.images import Images, Pixels
from wgan.latents import Latents
from wgan.server.latents import Wanted
from wgan.server.settings import Batching


class QueueFull(Exception):
    """No more images may wait; `retry_after` is in whole seconds."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} images are waiting")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Outputs:
    """The images of one request or of one run; None stands for an output nobody asked for."""

    images: Images | None
    pixels: Pixels | None

    def cut(self, start: int, stop: int) -> "Outputs":
        """Copy a part, so that an image does not keep the rest of its batch in memory."""
        return Outputs(
            None if self.images is None else self.images[start:stop].copy(),
            None if self.pixels is None else self.pixels[start:stop].copy(),
        )


@dataclass(eq=False)
class QueuedRequest:
    """One request's images, on their way; `done` becomes its `Outputs`."""

    wanted: Wanted
    done: asyncio.Future[Outputs]
    images: bool = False  # asked for as floats
    pixels: bool = True
    admitted: float = field(default_factory=time.monotonic)
    taken: int = 0  # images that a run has begun
    parts: list[Outputs] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Images that still wait."""
        return len(self.wanted) - self.taken


@dataclass(frozen=True)
class RunReport:
    """What one run did, for the metrics."""

    images: int
    waited: tuple[float, ...]  # seconds, of each request that began with this run
    seconds: float  # of the drawing alone


@dataclass(frozen=True)
class _Slice:
    order: QueuedRequest
    start: int
    stop: int


Draw = Callable[[Latents, bool, bool], Outputs]
"""Latents, whether images are wanted, whether pixels are -> both or either."""


class Batcher:
    """Draws for one model. Made and used in the event loop's thread, but for its own thread.

    Args:
        draw: draws a batch; called in the batcher's thread.
        batching: how requests are joined.
        max_queue: images that may wait.
        observe: told of each run, in the event loop's thread.
    """

    def __init__(
        self,
        draw: Draw,
        batching: Batching,
        max_queue: int,
        observe: Callable[[RunReport], None] = lambda run: None,
    ) -> None:
        self._draw = draw
        self._batching = batching
        self._max_queue = max_queue
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._condition = threading.Condition()
        self._queue: deque[QueuedRequest] = deque()
        self._waiting = 0
        self._closed = False
        self._company = 0  # images of the last run, when it served several requests
        self._rate = 0.0  # images per second of late
        # A daemon, so that a run that never ends cannot keep the process from ending.
        self._thread = threading.Thread(target=self._work, name="wgan-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images that wait."""
        return self._waiting

    def submit(self, wanted: Wanted, *, images: bool, pixels: bool) -> QueuedRequest:
        """Let a request wait for its turn.

        Raises:
            QueueFull: too many images wait already, or the model has just been replaced.
        """
        with self._condition:
            if self._closed:
                raise QueueFull(self._waiting, 1)
            if self._waiting + len(wanted) > self._max_queue:
                raise QueueFull(self._waiting, self._seconds_to_draw(self._waiting))
            order = QueuedRequest(wanted, self._loop.create_future(), images, pixels)
            self._queue.append(order)
            self._waiting += len(wanted)
            self._condition.notify()
        return order

    def drop(self, order: QueuedRequest) -> None:
        """Forget a request whose client has gone; a run that has begun is not stopped."""
        order.done.cancel()
        with self._condition:
            if order in self._queue:
                self._queue.remove(order)
                self._waiting -= order.left

    def close(self) -> None:
        """Draw what waits, then end the thread; `join` waits for that."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end, at most so long; whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _seconds_to_draw(self, images: int) -> int:
        return max(1, math.ceil(images / self._rate)) if self._rate else 1

    # What follows runs in the batcher's own thread.

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            drawn = self._draw_batch(batch)
            seconds = time.monotonic() - started
            run = RunReport(
                images=sum(part.stop - part.start for part in batch),
                waited=tuple(started - p.order.admitted for p in batch if p.start == 0),
                seconds=seconds,
            )
            self._rate = run.images / max(seconds, 1e-6)
            self._company = run.images if len(batch) > 1 else 0
            self._loop.call_soon_threadsafe(self._deliver, batch, drawn, run)

    def _next_batch(self) -> list[_Slice]:
        """Take the next images from the queue; empty when the batcher is closed and done."""
        with self._condition:
            while not self._queue:  # again, when who waited for company has gone
                if self._closed:
                    return []
                self._condition.wait_for(lambda: self._queue or self._closed)
                self._wait_for_company()
            return self._take()

    def _wait_for_company(self) -> None:
        """Where the last run served several requests, their senders are likely to be back soon."""
        if not self._company:
            return
        while self._queue and self._waiting < self._company and not self._closed:
            left = self._queue[0].admitted + self._batching.max_wait - time.monotonic()
            if left <= 0:
                return
            self._condition.wait(left)

    def _take(self) -> list[_Slice]:
        batch: list[_Slice] = []
        room = self._batching.max_batch
        while self._queue and room:
            order = self._queue[0]
            count = min(room, order.left)
            batch.append(_Slice(order, order.taken, order.taken + count))
            order.taken += count
            room -= count
            self._waiting -= count
            if not order.left:
                self._queue.popleft()
        return batch

    def _draw_batch(self, batch: list[_Slice]) -> list[Outputs | Exception]:
        """Draw all slices in one run; where that fails, each on its own, so that one fails."""
        try:
            return list(self._draw_together(batch))
        except Exception as exc:  # noqa: BLE001 - whoever waits is told; the thread must live on
            if len(batch) == 1:
                return [exc]
            return [drawn for part in batch for drawn in self._draw_batch([part])]

    def _draw_together(self, batch: list[_Slice]) -> list[Outputs]:
        latents = np.concatenate(
            [part.order.wanted.latents(range(part.start, part.stop)) for part in batch]
        )
        drawn = self._draw(
            latents,
            any(part.order.images for part in batch),
            any(part.order.pixels for part in batch),
        )
        ends = np.cumsum([part.stop - part.start for part in batch]).tolist()
        return [
            drawn.cut(end - (part.stop - part.start), end)
            for part, end in zip(batch, ends, strict=True)
        ]

    # And this in the event loop's again.

    def _deliver(
        self, batch: list[_Slice], outcomes: list[Outputs | Exception], run: RunReport
    ) -> None:
        for part, outcome in zip(batch, outcomes, strict=True):
            order = part.order
            if order.done.done():
                continue
            if isinstance(outcome, Exception):
                order.done.set_exception(outcome)
                self.drop(order)  # a large request has more to come, for nobody
                continue
            order.parts.append(outcome)
            if part.stop == len(order.wanted):
                order.done.set_result(_join(order.parts))
        self._observe(run)


def _join(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    images = [part.images for part in parts if part.images is not None]
    pixels = [part.pixels for part in parts if part.pixels is not None]
    # A run gives what any of its requests asked for: this one's outputs are in all of its runs.
    return Outputs(
        np.concatenate(images) if len(images) == len(parts) else None,
        np.concatenate(pixels) if len(pixels) == len(parts) else None,
    )
