"""Map over a stream in threads, with results in order and bounded look-ahead."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in the order of the items.

    Threads help where `work` waits or releases the GIL, as ONNX Runtime and Pillow do. At most
    `ahead` items are submitted beyond the one whose result comes next, so memory does not grow
    with the stream. An exception in `work` is raised here; items already running finish first,
    the others are cancelled. Closing the generator cancels them too. Where the system allows fewer
    threads than `workers`, those do the work, or this one does.
    """
    pool, threads = _start_threads(workers)
    if threads == 0:
        yield from map(work, items)
        return
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def startable_threads(count: int) -> int:
    """Return how many of `count` threads the system starts now, in addition to this one."""
    pool, threads = _start_threads(max(1, count))
    pool.shutdown()
    return min(threads, count)


def _start_threads(count: int) -> tuple[ThreadPoolExecutor, int]:
    """Return a pool of as many threads as the system starts, up to `count`, and their number.

    A pool starts threads one by one when work comes, and loses the work whose thread cannot start.
    """
    pool, all_started = ThreadPoolExecutor(count), threading.Event()
    started = 0
    try:
        while started < count:
            pool.submit(all_started.wait)  # keeps its thread busy, so that the next one is started
            started += 1
    except RuntimeError:  # "can't start new thread": a limit on processes, or too little memory
        all_started.set()
        pool.shutdown()
        return ThreadPoolExecutor(max(1, started)), started
    all_started.set()
    return pool, count
