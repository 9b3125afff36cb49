"""Work on a stream of things in threads, in order, never far ahead of who asks."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    items: Iterable[Item], work: Callable[[Item], Result], *, workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yield `work(item)` for each item, in the items' order.

    Threads help where `work` waits or lets go of the interpreter, as ONNX Runtime's runs and
    Pillow's encoders do. At most `ahead` items are in work beyond the one that is waited for, so
    memory does not grow with the stream. An error of `work` is raised here; what was not begun
    then is left undone, what was begun is finished first.
    """
    pool = ThreadPoolExecutor(workers)
    pending: deque[SimpleQueue[Future[Result]]] = deque()
    try:
        for item in items:
            # To wait in C, unlike in Future.result, is where a signal can interrupt safely.
            done: SimpleQueue[Future[Result]] = SimpleQueue()
            pool.submit(work, item).add_done_callback(done.put)
            pending.append(done)
            if len(pending) > ahead:
                yield pending.popleft().get().result()
        while pending:
            yield pending.popleft().get().result()
    finally:
        pool.shutdown(cancel_futures=True)
