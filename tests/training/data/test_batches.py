import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wgan.errors import DataError, UsageError
from wgan.images import Pixels, to_images
from wgan.training.data import Batches, InMemoryDataset
from wgan.training.data.batches import UPLOAD_BYTES, DevicePixels, scale, to_batch
from wgan.training.device import resolve_data_on_device
from wgan.training.execution import ExecutionConfig

CPU = torch.device("cpu")


def numbered(count: int) -> Pixels:
    """Images of one pixel with the value of their index."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def drawn_numbers(batches: Batches) -> list[int]:
    return ((batches.next().flatten() + 1) * 127.5).round().int().tolist()


def test_a_batch_has_the_values_of_to_images() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 5, 6, 3)).astype(np.uint8)
    batch = Batches(pixels, 8, seed=3, device=CPU).next()
    order = np.random.RandomState([3, 0]).permutation(8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch.numpy(), to_images(pixels[order]))


def test_scaling_on_a_device_equals_scaling_on_the_host() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 5, 6, 3)).astype(np.uint8)
    on_host, on_device = to_batch(pixels, CPU), scale(torch.from_numpy(pixels))
    assert torch.equal(on_host, on_device)
    assert on_device.is_contiguous(memory_format=torch.channels_last)
    assert to_batch(pixels, torch.device("meta")).shape == on_host.shape


def test_an_epoch_has_each_image_once_and_the_next_another_order() -> None:
    batches = Batches(numbered(60), 20, seed=0, device=CPU)
    epochs = [[k for _ in range(3) for k in drawn_numbers(batches)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_incomplete_last_batch_of_an_epoch_is_left_out() -> None:
    batches = Batches(numbered(25), 10, seed=0, device=CPU)
    epoch = drawn_numbers(batches) + drawn_numbers(batches)
    assert len(set(epoch)) == 20
    assert drawn_numbers(batches) == np.random.RandomState([0, 1]).permutation(25)[:10].tolist()


def test_another_seed_yields_another_order() -> None:
    first, second = (drawn_numbers(Batches(numbered(50), 50, s, CPU)) for s in (0, 1))
    assert first != second


@settings(deadline=None)  # a busy machine is not an error
@given(
    count=st.integers(1, 50),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
    drawn=st.integers(0, 200),
)
def test_resuming_from_a_position_equals_an_uninterrupted_run(
    count: int, batch_size: int, seed: int, drawn: int
) -> None:
    batch_size = min(batch_size, count)
    straight = Batches(numbered(count), batch_size, seed, CPU)
    for _ in range(drawn):
        straight.next()
    resumed = Batches(numbered(count), batch_size, seed, CPU, drawn=drawn)
    assert resumed.drawn == straight.drawn == drawn
    for _ in range(5):
        assert drawn_numbers(resumed) == drawn_numbers(straight)


def test_fewer_images_than_a_batch_are_an_error_with_advice() -> None:
    with pytest.raises(
        DataError, match=r"9 images to train on, fewer than a batch of 10.*--batch-size 9"
    ):
        Batches(numbered(9), 10, seed=0, device=CPU)


def test_flipping_mirrors_about_half_of_the_images_and_resumes_exactly() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (200, 4, 5, 3)).astype(np.uint8)
    plain = Batches(pixels, 100, seed=0, device=CPU)
    flipped = Batches(pixels, 100, seed=0, device=CPU, flip=True)
    mirrored = 0
    for _ in range(4):
        batch, other = plain.next(), flipped.next()
        is_same = (batch == other).flatten(1).all(1)
        is_mirrored = (batch.flip(3) == other).flatten(1).all(1)
        assert (is_same ^ is_mirrored).all()
        mirrored += int(is_mirrored.sum())
    assert 140 < mirrored < 260
    resumed = Batches(pixels, 100, seed=0, device=CPU, drawn=3, flip=True)
    assert torch.equal(resumed.next(), other)


def test_flipping_does_not_modify_the_data() -> None:
    pixels = np.arange(40, dtype=np.uint8).reshape(2, 4, 5, 1)
    pixels.setflags(write=False)
    Batches(pixels, 2, seed=0, device=CPU, flip=True).next()


def images(count: int = 10) -> InMemoryDataset:
    shape = (count, 8, 6, 3)
    return InMemoryDataset(np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8), [], "")


@pytest.mark.parametrize("flip", [False, True])
def test_batches_cut_on_the_device_equal_those_cut_on_the_host(flip: bool) -> None:
    here, there = (
        images().batches(3, 0, CPU, flip=flip, holdout=0.1, on_device=on_device)
        for on_device in (False, True)
    )
    for _ in range(10):  # three epochs
        one, two = here.next(), there.next()
        assert torch.equal(one, two)
        assert two.is_contiguous(memory_format=torch.channels_last)
    assert here.drawn == there.drawn


def test_read_only_images_are_copied_to_the_device_in_parts() -> None:
    pixels = np.zeros((3, 4096, 8192, 1), np.uint8)  # 32 MiB each
    pixels[:, 5, 7] = [[1], [2], [3]]
    pixels.flags.writeable = False
    assert pixels.nbytes > UPLOAD_BYTES
    on_device = DevicePixels(pixels, CPU)
    assert on_device.take(np.array([2, 0]), None)[:, 5, 7].flatten().tolist() == [3, 1]


def test_data_on_device_is_automatic_for_gpus_only() -> None:
    assert not resolve_data_on_device("auto", CPU, 100)
    assert resolve_data_on_device("yes", CPU, 100)
    assert not resolve_data_on_device("no", torch.device("cuda"), 100)
    assert not resolve_data_on_device("auto", torch.device("cuda"), None)
    with pytest.raises(
        UsageError, match=r"--data-on-device .maybe. is not allowed: it must be one of auto, yes"
    ):
        ExecutionConfig(data_on_device="maybe")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((8, 4, 4, 3), np.float32), "float32, but must be uint8.*from_array"),
        (np.zeros((8, 4, 4, 1), np.uint16), "uint16, but must be uint8.*from_array"),
        (np.zeros((8, 4, 4), np.uint8), r"shape \[8, 4, 4\].*array\[\.\.\., None\]"),
        (np.zeros((8, 3, 4, 4), np.uint8), r"shape \[8, 3, 4, 4\].*transpose\(0, 2, 3, 1\)"),
        (np.zeros((8, 4, 4, 17), np.uint8), "1 to 16 channels"),
    ],
)
def test_an_array_of_another_type_or_shape_is_an_error(array: Pixels, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Batches(array, 4, seed=0, device=CPU)
