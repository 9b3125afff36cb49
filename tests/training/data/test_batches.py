import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wgan.errors import DataError
from wgan.images import Pixels, to_images
from wgan.training.data import Batches
from wgan.training.data.batches import scale, to_batch

CPU = torch.device("cpu")


def numbered(count: int) -> Pixels:
    """Images of one pixel that say their own number."""
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


def drawn_numbers(batches: Batches) -> list[int]:
    return ((batches.next().flatten() + 1) * 127.5).round().int().tolist()


def test_a_batch_holds_the_same_images_as_the_rest_of_wgan_would_make() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 5, 6, 3)).astype(np.uint8)
    batch = Batches(pixels, 8, seed=3, device=CPU).next()
    order = np.random.RandomState([3, 0]).permutation(8)
    assert batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch.numpy(), to_images(pixels[order]))


def test_scaling_on_a_device_gives_the_same_batch_as_on_the_host() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 5, 6, 3)).astype(np.uint8)
    on_host, on_device = to_batch(pixels, CPU), scale(torch.from_numpy(pixels))
    assert torch.equal(on_host, on_device)
    assert on_device.is_contiguous(memory_format=torch.channels_last)
    assert to_batch(pixels, torch.device("meta")).shape == on_host.shape


def test_an_epoch_shows_each_image_once_and_the_next_in_another_order() -> None:
    batches = Batches(numbered(60), 20, seed=0, device=CPU)
    epochs = [[k for _ in range(3) for k in drawn_numbers(batches)] for _ in range(3)]
    assert all(sorted(epoch) == list(range(60)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_last_incomplete_batch_of_an_epoch_is_left_out() -> None:
    batches = Batches(numbered(25), 10, seed=0, device=CPU)
    epoch = drawn_numbers(batches) + drawn_numbers(batches)
    assert len(set(epoch)) == 20
    assert drawn_numbers(batches) == np.random.RandomState([0, 1]).permutation(25)[:10].tolist()


def test_another_seed_gives_another_order() -> None:
    first, second = (drawn_numbers(Batches(numbered(50), 50, s, CPU)) for s in (0, 1))
    assert first != second


@given(
    count=st.integers(1, 50),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
    drawn=st.integers(0, 200),
)
def test_going_on_from_a_position_equals_never_having_stopped(
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


def test_fewer_images_than_a_batch_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(
        DataError, match=r"9 images to learn from, fewer than a batch of 10.*--batch-size 9"
    ):
        Batches(numbered(9), 10, seed=0, device=CPU)


def test_flipping_mirrors_about_half_of_the_images_and_goes_on_exactly() -> None:
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


def test_flipping_leaves_the_images_themselves_alone() -> None:
    pixels = np.arange(40, dtype=np.uint8).reshape(2, 4, 5, 1)
    pixels.setflags(write=False)
    Batches(pixels, 2, seed=0, device=CPU, flip=True).next()
