import threading
from collections.abc import Iterator

import pytest

from wgan.parallel import in_parallel


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("ahead", [0, 1, 10])
def test_results_come_in_order(workers: int, ahead: int) -> None:
    squares = in_parallel(range(50), lambda n: n * n, workers=workers, ahead=ahead)
    assert list(squares) == [n * n for n in range(50)]


def test_work_is_never_far_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(100):
            taken.append(n)
            yield n

    results = in_parallel(items(), lambda n: n, workers=2, ahead=3)
    for expected in range(10):
        assert next(results) == expected
        assert len(taken) <= expected + 1 + 3


def test_threads_work_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=10)
    results = in_parallel(range(3), lambda _: together.wait(), workers=3, ahead=2)
    assert sorted(results) == [0, 1, 2]


def test_an_error_is_raised_and_the_rest_is_left_undone() -> None:
    done: list[int] = []

    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        done.append(n)
        return n

    with pytest.raises(ValueError, match="two"):
        list(in_parallel(range(100), work, workers=1, ahead=2))
    assert len(done) <= 5


def test_whoever_stops_asking_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = in_parallel(range(100), lambda n: n, workers=4, ahead=4)
    next(results)
    results.close()
    assert threading.active_count() == before
