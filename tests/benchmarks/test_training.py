"""Who takes part in the race of training loops."""

import pytest
import torch

from benchmarks.training import contenders


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_whose_operations_are_a_twins_has_that_twin_beside_it(device: str) -> None:
    taking_part = contenders(torch.device(device))
    counted = {each.name for each in taking_part if each.twin is None}
    twins = {each.twin for each in taking_part if each.twin is not None}
    assert twins
    assert twins <= counted
    assert len({each.name for each in taking_part}) == len(taking_part)
