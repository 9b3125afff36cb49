"""Admission and dynamic batching: queued requests share runs of the model in one thread.

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
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from wgan.errors import ModelFileError, UsageError
from wgan.latents import Labels, Latents
from wgan.runtime.latent_sources import LatentSource
from wgan.server.config import ServeConfig
from wgan.server.connection import DISCONNECT
from wgan.server.messages import RequestError, bad_request
from wgan.server.telemetry import Metrics

HELD = "wgan.held_images"
"""Key of a request's scope: the number of images it holds, from admission until they are sent."""


class QueueFull(Exception):
    """No more images may be queued; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after


Outputs = dict[str, npt.NDArray[Any]]
"""The requested outputs by name: `images` or `pixels`, or both."""


@dataclass(eq=False)
class QueuedRequest:
    """One request's images; `done` resolves to its `Outputs`."""

    source: LatentSource  # latents and labels, which are computed when their batch runs
    done: asyncio.Future[Outputs]
    outputs: Collection[str]
    admitted: float = field(default_factory=time.monotonic)
    taken: int = 0  # images whose run has started
    parts: list[Outputs] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Images that are still queued."""
        return len(self.source) - self.taken


Slice = tuple[QueuedRequest, int, int]
"""A request, and the first and the last + 1 of its images in a run."""

RunFn = Callable[[Latents, Labels | None, Collection[str]], Outputs]
"""Runs the model on latents and labels; the names are those of the outputs to return."""


class Batcher:
    """Queue, batches and thread of one model. Create and use it in the event loop's thread.

    Args:
        run: runs one batch; called in the batcher's thread.
        max_batch: largest number of images in one run.
        max_wait: seconds that a request waits for others.
        max_queue: largest number of queued images.
        observe: called after each run, in the event loop's thread, with the number of images, the
            seconds that each request which began with this run was queued, and the run's seconds.
    """

    def __init__(
        self,
        run: RunFn,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        observe: Callable[[int, Sequence[float], float], None],
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._condition = threading.Condition()
        self._queue: deque[QueuedRequest] = deque()
        self.waiting = 0  # number of queued images
        self._closed = False
        self._last_shared_batch = 0  # images of the last run, if several requests shared it
        self._rate = 0.0  # images per second of the last run
        # A daemon thread: a run that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="wgan-batcher", daemon=True)
        self._thread.start()

    def submit(self, source: LatentSource, outputs: Collection[str]) -> QueuedRequest:
        """Queue a request.

        Raises:
            QueueFull: too many images are queued, or the model has just been replaced.
        """
        with self._condition:
            if self._closed:
                raise QueueFull(1)
            if self.waiting + len(source) > self._max_queue:
                seconds = math.ceil(self.waiting / self._rate) if self._rate else 1
                raise QueueFull(max(1, seconds))
            request = QueuedRequest(source, self._loop.create_future(), outputs)
            self._queue.append(request)
            self.waiting += len(source)
            self._condition.notify()
        return request

    def drop(self, request: QueuedRequest) -> None:
        """Remove a request from the queue; a run that has started is not interrupted."""
        request.done.cancel()
        with self._condition:
            if request in self._queue:
                self._queue.remove(request)
                self.waiting -= request.left

    def close(self) -> None:
        """Finish the queue, then end the thread; does not wait for it."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def join(self, seconds: float) -> bool:
        """Wait at most `seconds` for the thread to end; returns whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # In the batcher's thread.

    def _work(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            results = self._run_batch(batch)
            seconds = time.monotonic() - started
            images = sum(stop - start for _, start, stop in batch)
            waited = [started - request.admitted for request, start, _ in batch if start == 0]
            self._rate = images / max(seconds, 1e-6)
            self._last_shared_batch = images if len(batch) > 1 else 0
            # Futures are not thread-safe: results are set in the event loop's thread.
            self._loop.call_soon_threadsafe(self._observe, images, waited, seconds)
            self._loop.call_soon_threadsafe(self._deliver, batch, results)

    def _next_batch(self) -> list[Slice]:
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
        while self._queue and self.waiting < self._last_shared_batch and not self._closed:
            left = self._queue[0].admitted + self._max_wait - time.monotonic()
            if left <= 0:
                return
            self._condition.wait(left)

    def _take(self) -> list[Slice]:
        batch: list[Slice] = []
        room = self._max_batch
        while self._queue and room:
            request = self._queue[0]
            count = min(room, request.left)
            batch.append((request, request.taken, request.taken + count))
            request.taken += count
            room -= count
            self.waiting -= count
            if not request.left:
                self._queue.popleft()
        return batch

    def _run_batch(self, batch: list[Slice]) -> list[Outputs | Exception]:
        """Run all slices at once; if that fails, each separately, so that only one fails."""
        try:
            return list(self._run_slices(batch))
        except Exception as exc:  # noqa: BLE001 - raised to the sender; the thread must go on
            if len(batch) == 1:
                return [exc]
            return [result for part in batch for result in self._run_batch([part])]

    def _run_slices(self, batch: list[Slice]) -> list[Outputs]:
        names = {name for request, _, _ in batch for name in request.outputs}
        latents = [request.source.latents(range(start, stop)) for request, start, stop in batch]
        labels = [request.source.labels(range(start, stop)) for request, start, stop in batch]
        # All requests have labels, or none: it depends on the model.
        given = [each for each in labels if each is not None]
        joined = np.concatenate(given) if given else None
        outputs = self._run(np.concatenate(latents), joined, names)
        results = []
        end = 0
        for request, start, stop in batch:
            begin, end = end, end + stop - start
            # Copies, so that an image does not keep its whole batch in memory.
            results.append({name: outputs[name][begin:end].copy() for name in request.outputs})
        return results

    # In the event loop's thread.

    def _deliver(self, batch: list[Slice], results: list[Outputs | Exception]) -> None:
        for (request, _, stop), result in zip(batch, results, strict=True):
            if request.done.done():
                continue
            if isinstance(result, Exception):
                request.done.set_exception(result)
                self.drop(request)  # the rest of a large request would run for nothing
                continue
            request.parts.append(result)
            if stop == len(request.source):
                request.done.set_result(_join(request))


def _join(request: QueuedRequest) -> Outputs:
    if len(request.parts) == 1:
        return request.parts[0]
    return {
        name: np.concatenate([part[name] for part in request.parts]) for name in request.outputs
    }


class Scheduler:
    """Generates the images of requests within the server's limits, in the event loop's thread."""

    def __init__(self, config: ServeConfig, metrics: Metrics) -> None:
        self._config = config
        self._held = 0
        metrics.held_images.set_function(lambda: self._held)

    async def generate(
        self,
        scope: Scope,
        batcher: Batcher,
        source: LatentSource,
        names: Collection[str],
        *,
        overload_status: int = 503,
    ) -> Outputs:
        """Generate the outputs `names`, of `images` and `pixels`, for a request.

        `scope` is the request's: its `DISCONNECT` is read, its `HELD` is written.

        Raises:
            RequestError: 400 for too many images, `overload_status` if too many are queued.
            ClientDisconnect: the client disconnected; its request leaves the queue.
        """
        check_count(len(source), self._config.max_images)
        if self._held + len(source) > self._config.max_held:
            raise _overload(overload_status, "being generated and sent", self._held, 1)
        try:
            queued = batcher.submit(source, names)
        except QueueFull as exc:
            raise _overload(overload_status, "queued", batcher.waiting, exc.retry_after) from exc
        self._held += len(source)
        scope[HELD] = scope.get(HELD, 0) + len(source)
        disconnect: asyncio.Future[None] = scope[DISCONNECT]

        def cancel(_: object) -> None:
            queued.done.cancel()

        disconnect.add_done_callback(cancel)  # is called, too, if the client has already gone
        seconds = self._config.answer_seconds
        try:
            async with asyncio.timeout(seconds):
                return await queued.done
        except TimeoutError as exc:
            raise RequestError(
                503, f"not generated within {seconds:g} seconds", "timeout", {"Retry-After": "1"}
            ) from exc
        except (ModelFileError, UsageError) as exc:
            # A client's own latents can drive a sound model to infinity.
            raise bad_request(f"the model fails on this input: {exc}") from exc
        except asyncio.CancelledError:
            if not disconnect.done():
                raise  # the server is stopping
            raise ClientDisconnect from None
        finally:
            disconnect.remove_done_callback(cancel)
            batcher.drop(queued)

    def release(self, scope: Scope) -> None:
        """Release the images that a request held: it was answered, or its client disconnected."""
        self._held -= scope.pop(HELD, 0)


def check_count(count: int, limit: int) -> None:
    """Raise RequestError unless 1 <= count <= limit."""
    if count < 1:
        raise bad_request("the request is for 0 images: at least 1 is needed")
    if count > limit:
        raise bad_request(f"the request is for {count} images: at most {limit} are allowed")


def _overload(status: int, state: str, images: int, retry_after: int) -> RequestError:
    return RequestError(
        status,
        f"the server is overloaded: {images} images are {state}; try again in {retry_after} s",
        "overload",
        {"Retry-After": str(retry_after)},
    )
