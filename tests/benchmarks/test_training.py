"""The contenders of the benchmark of training loops."""

import pytest
import torch

from benchmarks.training import contenders


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_contender_has_a_name_of_its_own(device: str) -> None:
    names = [contender.name for contender in contenders(torch.device(device))]
    assert len(set(names)) == len(names)
