"""The contenders of the benchmark of training loops."""

import time

import pytest
import torch

from benchmarks.training import LEAST_ROUNDS, Rounds, contenders


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_contender_has_a_name_of_its_own(device: str) -> None:
    names = [contender.name for contender in contenders(torch.device(device))]
    assert len(set(names)) == len(names)


def test_the_rounds_end_in_time_but_not_before_there_are_enough() -> None:
    plan, long_ago = Rounds(most=7, seconds=2.0, minutes=4.0), time.perf_counter() - 100
    assert not plan.is_enough(LEAST_ROUNDS - 1, long_ago, limit=10)
    assert plan.is_enough(LEAST_ROUNDS, long_ago, limit=10)
    assert not plan.is_enough(5, long_ago, limit=1000)
    assert plan.is_enough(7, long_ago, limit=1000)
    assert not plan.is_enough(6, long_ago, limit=0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_time_is_said_before_it_starts(device: str) -> None:
    text = Rounds(most=7, seconds=2.0, minutes=4.0).forecast(torch.device(device))
    assert "minutes of turns" in text
    assert text.endswith("ends after about 4")
