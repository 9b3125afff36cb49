import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.processes import environment
from wgan.parallel import ordered_map


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ahead", [0, 1, 10])
def test_results_keep_the_order_of_the_items(workers: int, ahead: int) -> None:
    squares = ordered_map(range(50), lambda n: n * n, workers=workers, ahead=ahead)
    assert list(squares) == [n * n for n in range(50)]


def test_look_ahead_is_bounded() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = ordered_map(items(), lambda n: n, workers=2, ahead=3)
    for expected in range(10):
        assert next(results) == expected
        assert len(taken) <= expected + 1 + 3


def test_items_run_concurrently() -> None:
    together = threading.Barrier(3, timeout=10)
    results = ordered_map(range(3), lambda _: together.wait(), workers=3, ahead=2)
    assert sorted(results) == [0, 1, 2]


def test_an_exception_is_raised_and_pending_items_are_cancelled() -> None:
    done: list[int] = []

    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        done.append(n)
        return n

    with pytest.raises(ValueError, match="two"):
        list(ordered_map(range(100), work, workers=1, ahead=2))
    assert len(done) <= 5


def test_closing_the_generator_ends_its_threads() -> None:
    before = threading.active_count()
    results = ordered_map(range(100), lambda n: n, workers=4, ahead=4)
    next(results)
    results.close()
    assert threading.active_count() == before


FEW_THREADS = """
import os, resource, sys
from tests.processes import environment
from wgan.parallel import ordered_map

os.setuid(54321)  # a user without other processes; the limit does not hold for root
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
seen = []

def work(n):
    seen.append(n)
    return n * n

squares = list(ordered_map(range(20), work, workers=8, ahead=8))
assert squares == [n * n for n in range(20)], squares
assert sorted(seen) == list(range(20)), seen
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0, reason="only root can become another user"
)
@pytest.mark.parametrize("processes", [1, 3])
def test_the_threads_that_the_system_allows_do_each_work_once(processes: int) -> None:
    subprocess.run(
        [sys.executable, "-c", FEW_THREADS, str(processes)], env=environment(), check=True
    )
