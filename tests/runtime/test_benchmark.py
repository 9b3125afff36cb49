import subprocess
import sys
import time

import numpy as np
import pytest

from wgan.host import resident_memory
from wgan.latents import Latents, latents_from_seeds
from wgan.runtime.benchmark import ROUNDS, TURN_S, Timing, measure


def test_engines_take_turns_with_the_same_latents() -> None:
    turns: list[tuple[str, int]] = []

    def engine(name: str) -> object:
        def run(drawn: Latents) -> None:
            np.testing.assert_array_equal(drawn, latents_from_seeds(range(len(drawn)), 3))
            if turns[-1:] != [(name, len(drawn))]:
                turns.append((name, len(drawn)))

        return run

    timings = list(measure({"a": engine("a"), "b": engine("b")}, 3, [2, 5], seconds=0))  # type: ignore[dict-item]
    assert turns == [("a", 2), ("b", 2)] * (ROUNDS + 1) + [("a", 5), ("b", 5)] * (ROUNDS + 1)
    assert [(timing.engine, timing.batch_size) for timing in timings] == [
        ("a", 2),
        ("b", 2),
        ("a", 5),
        ("b", 5),
    ]


def test_a_turn_is_many_quick_runs_or_a_slow_one() -> None:
    def slow(drawn: Latents) -> None:
        end = time.perf_counter() + TURN_S
        while time.perf_counter() < end:
            pass

    quick_one, slow_one = measure({"quick": lambda drawn: None, "slow": slow}, 3, [1], seconds=0)
    assert len(slow_one.seconds) == ROUNDS
    assert len(quick_one.seconds) > 10 * ROUNDS


def test_a_slower_engine_is_measured_as_slower() -> None:
    def quick(drawn: Latents) -> None:
        sum(range(1_000))

    def slow(drawn: Latents) -> None:
        sum(range(1_000_000))

    quick_one, slow_one = measure({"quick": quick, "slow": slow}, 3, [1], seconds=0)
    assert slow_one.median_ms > 10 * quick_one.median_ms


def test_measuring_lasts_as_long_as_configured() -> None:
    start = time.perf_counter()
    (timing,) = measure({"a": lambda drawn: None}, 3, [1], seconds=0.2)
    assert time.perf_counter() - start >= 0.2
    assert len(timing.seconds) > ROUNDS


def test_a_timing_reports_its_median() -> None:
    timing = Timing("a", 10, (0.1, 0.2, 0.3, 0.2, 5.0))
    assert timing.median_ms == pytest.approx(200)
    assert timing.images_per_second == pytest.approx(50)
    low, high = timing.spread_ms
    assert 100 <= low <= 200 <= high


ENGINE_OF_50_MIB = """
import numpy as np
from wgan.latents import latents_from_seeds
from wgan.runtime.benchmark import memory_grown

def make():
    held = np.ones(50 * 2**20, np.uint8)
    return lambda drawn: held

print(memory_grown(make, (latents_from_seeds([0], 3),))[1])
"""


@pytest.mark.skipif(resident_memory() is None, reason="resident memory is unknown here")
def test_the_memory_of_an_engine_is_what_it_allocates() -> None:
    # In a process of its own: after a training, malloc reuses freed memory and nothing grows.
    command = [sys.executable, "-c", ENGINE_OF_50_MIB]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 40 * 2**20 < int(done.stdout) < 80 * 2**20
