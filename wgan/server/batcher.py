"""Dynamic batching: queued requests share runs of the model in one thread.

Batches are made of images, not of requests: several small requests share a run, a large one takes
several. A single request never waits for others; after a run that several requests shared, the
next waits at most `max_wait` for their senders to come back. One thread per model runs one batch
after the other: two at once would compete for the same cores.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wgan.images import Images, Pixels
from wgan.latents import Latents


class QueueFull(Exception):
    """No more images may be queued; `retry_after` is in whole seconds."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} images are queued")
        self.retry_after = retry_after


class LazyLatents(Protocol):
    """Latents of `len(latents)` images, computed when their batch runs: a latent source."""

    def __len__(self) -> int: ...

    def latents(self, positions: Sequence[int]) -> Latents:
        """The latents at `positions`: float32 `[len(positions), latent_dim]`."""
        ...


@dataclass(frozen=True)
class ArrayLatents:
    """Latents that are at hand, `[n, latent_dim]`."""

    rows: Latents

    def __len__(self) -> int:
        return len(self.rows)

    def latents(self, positions: Sequence[int]) -> Latents:
        """The rows at `positions`."""
        return self.rows[list(positions)]


@dataclass(frozen=True)
class Outputs:
    """The images of one request or of one run; None: this output was not requested."""

    images: Images | None
    pixels: Pixels | None

    def copy(self, start: int, stop: int) -> "Outputs":
        """Copy a slice, so that an image does not keep its whole batch in memory."""
        return Outputs(
            None if self.images is None else self.images[start:stop].copy(),
            None if self.pixels is None else self.pixels[start:stop].copy(),
        )


@dataclass(eq=False)
class QueuedRequest:
    """One request's images; `done` resolves to its `Outputs`."""

    latents: LazyLatents
    done: asyncio.Future[Outputs]
    images: bool
    pixels: bool
    admitted: float = field(default_factory=time.monotonic)
    taken: int = 0  # images whose run has started
    parts: list[Outputs] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Images that are still queued."""
        return len(self.latents) - self.taken


@dataclass(frozen=True)
class RunReport:
    """One run, for the metrics."""

    images: int
    waited: tuple[float, ...]  # seconds in the queue, of each request that began with this run
    seconds: float


@dataclass(frozen=True)
class _Slice:
    request: QueuedRequest
    start: int
    stop: int


RunFn = Callable[[Latents, bool, bool], Outputs]
"""Runs the model: latents, whether to return images, whether to return pixels."""


class Batcher:
    """Queue, batches and thread of one model. Create and use it in the event loop's thread.

    Args:
        run: runs one batch; called in the batcher's thread.
        max_batch: largest number of images in one run.
        max_wait: seconds that a request waits for others.
        max_queue: largest number of queued images.
        observe: called after each run, in the event loop's thread.
    """

    def __init__(
        self,
        run: RunFn,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        observe: Callable[[RunReport], None],
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._condition = threading.Condition()
        self._queue: deque[QueuedRequest] = deque()
        self._waiting = 0
        self._closed = False
        self._last_shared_batch = 0  # images of the last run, if several requests shared it
        self._rate = 0.0  # images per second of the last run
        # A daemon thread: a run that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="wgan-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of queued images."""
        return self._waiting

    def submit(self, latents: LazyLatents, *, images: bool, pixels: bool) -> QueuedRequest:
        """Queue a request.

        Raises:
            QueueFull: too many images are queued, or the model has just been replaced.
        """
        with self._condition:
            if self._closed:
                raise QueueFull(self._waiting, 1)
            if self._waiting + len(latents) > self._max_queue:
                raise QueueFull(self._waiting, self._seconds_to_run(self._waiting))
            request = QueuedRequest(latents, self._loop.create_future(), images, pixels)
            self._queue.append(request)
            self._waiting += len(latents)
            self._condition.notify()
        return request

    def drop(self, request: QueuedRequest) -> None:
        """Remove a request from the queue; a run that has started is not interrupted."""
        request.done.cancel()
        with self._condition:
            if request in self._queue:
                self._queue.remove(request)
                self._waiting -= request.left

    def close(self) -> None:
        """Finish the queue, then end the thread; does not wait for it."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def join(self, seconds: float) -> bool:
        """Wait at most `seconds` for the thread to end; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _seconds_to_run(self, images: int) -> int:
        return max(1, math.ceil(images / self._rate)) if self._rate else 1

    # In the batcher's thread.

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            results = self._run_batch(batch)
            seconds = time.monotonic() - started
            report = RunReport(
                images=sum(part.stop - part.start for part in batch),
                waited=tuple(started - p.request.admitted for p in batch if p.start == 0),
                seconds=seconds,
            )
            self._rate = report.images / max(seconds, 1e-6)
            self._last_shared_batch = report.images if len(batch) > 1 else 0
            self._loop.call_soon_threadsafe(self._deliver, batch, results, report)

    def _next_batch(self) -> list[_Slice]:
        """Take the next images from the queue; empty once the batcher is closed and finished."""
        with self._condition:
            while not self._queue:  # a loop: the only request may be dropped while it waits
                if self._closed:
                    return []
                self._condition.wait_for(lambda: self._queue or self._closed)
                self._wait_for_others()
            return self._take()

    def _wait_for_others(self) -> None:
        """After a shared run, wait until as many images are queued again, or for `max_wait`."""
        if not self._last_shared_batch:
            return
        while self._queue and self._waiting < self._last_shared_batch and not self._closed:
            left = self._queue[0].admitted + self._max_wait - time.monotonic()
            if left <= 0:
                return
            self._condition.wait(left)

    def _take(self) -> list[_Slice]:
        batch: list[_Slice] = []
        room = self._max_batch
        while self._queue and room:
            request = self._queue[0]
            count = min(room, request.left)
            batch.append(_Slice(request, request.taken, request.taken + count))
            request.taken += count
            room -= count
            self._waiting -= count
            if not request.left:
                self._queue.popleft()
        return batch

    def _run_batch(self, batch: list[_Slice]) -> list[Outputs | Exception]:
        """Run all slices at once; if that fails, each separately, so that only one fails."""
        try:
            return list(self._run_slices(batch))
        except Exception as exc:  # noqa: BLE001 - raised to the sender; the thread must go on
            if len(batch) == 1:
                return [exc]
            return [result for part in batch for result in self._run_batch([part])]

    def _run_slices(self, batch: list[_Slice]) -> list[Outputs]:
        latents = np.concatenate(
            [part.request.latents.latents(range(part.start, part.stop)) for part in batch]
        )
        outputs = self._run(
            latents,
            any(part.request.images for part in batch),
            any(part.request.pixels for part in batch),
        )
        ends = np.cumsum([part.stop - part.start for part in batch]).tolist()
        return [
            outputs.copy(end - (part.stop - part.start), end)
            for part, end in zip(batch, ends, strict=True)
        ]

    # In the event loop's thread.

    def _deliver(
        self, batch: list[_Slice], results: list[Outputs | Exception], report: RunReport
    ) -> None:
        for part, result in zip(batch, results, strict=True):
            request = part.request
            if request.done.done():
                continue
            if isinstance(result, Exception):
                request.done.set_exception(result)
                self.drop(request)  # the rest of a large request would run for nothing
                continue
            request.parts.append(result)
            if part.stop == len(request.latents):
                request.done.set_result(_concatenate(request.parts))
        self._observe(report)


def _concatenate(parts: list[Outputs]) -> Outputs:
    if len(parts) == 1:
        return parts[0]
    images = [part.images for part in parts if part.images is not None]
    pixels = [part.pixels for part in parts if part.pixels is not None]
    # A run also returns what its other requests need; what this one needs is in all of its runs.
    return Outputs(
        np.concatenate(images) if len(images) == len(parts) else None,
        np.concatenate(pixels) if len(pixels) == len(parts) else None,
    )
