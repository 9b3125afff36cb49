"""Images on the device: the same batches as from the host's memory."""

import numpy as np
import pytest
import torch

from wgan.errors import UsageError
from wgan.training.data import InMemoryDataset
from wgan.training.data.on_device import CHUNK, ResidentPixels
from wgan.training.device import resolve_data_on_device

CPU = torch.device("cpu")


def images(count: int = 10) -> InMemoryDataset:
    shape = (count, 8, 6, 3)
    return InMemoryDataset(np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8), [], "")


@pytest.mark.parametrize("flip", [False, True])
def test_batches_cut_on_the_device_are_those_cut_on_the_host(flip: bool) -> None:
    here, there = (
        images().batches(3, 0, CPU, flip=flip, holdout=0.1, resident=resident)
        for resident in (False, True)
    )
    for _ in range(10):  # three epochs
        one, two = here.next(), there.next()
        assert torch.equal(one, two)
        assert two.is_contiguous(memory_format=torch.channels_last)
    assert here.drawn == there.drawn


def test_images_that_cannot_be_written_to_are_copied_some_at_a_time() -> None:
    pixels = np.zeros((3, 4096, 8192, 1), np.uint8)  # 32 MiB each
    pixels[:, 5, 7] = [[1], [2], [3]]
    pixels.flags.writeable = False
    assert pixels.nbytes > CHUNK
    resident = ResidentPixels(pixels, CPU)
    assert resident.take(np.array([2, 0]), None)[:, 5, 7].flatten().tolist() == [3, 1]


def test_data_stays_off_a_cpu_unless_asked() -> None:
    assert not resolve_data_on_device("auto", CPU, 100)
    assert resolve_data_on_device("yes", CPU, 100)
    assert not resolve_data_on_device("no", torch.device("cuda"), 100)
    assert not resolve_data_on_device("auto", torch.device("cuda"), None)
    with pytest.raises(UsageError, match="--data-on-device maybe is not one of auto, yes, no"):
        resolve_data_on_device("maybe", CPU, 100)
