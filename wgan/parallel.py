"""Map over a stream in threads, with results in order and bounded look-ahead."""

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
    the others are cancelled. Closing the generator cancels them too.
    """
    pool = ThreadPoolExecutor(workers)
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
