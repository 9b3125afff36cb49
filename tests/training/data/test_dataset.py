from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.test_docs import code_blocks
from wgan.errors import DataError
from wgan.training.data import InMemoryDataset
from wgan.training.data.dataset import split
from wgan.training.data.load import check_image_shape

PIXELS = np.random.RandomState(0).randint(0, 256, (6, 8, 8, 3)).astype(np.uint8)


def test_uint8_pixels_are_used_as_they_are() -> None:
    data = InMemoryDataset.from_array(PIXELS)
    assert np.shares_memory(data.pixels, PIXELS)
    assert (data.count, data.shape, data.skipped) == (6, (8, 8, 3), [])


def test_grey_images_may_lack_the_channel_axis() -> None:
    data = InMemoryDataset.from_array(PIXELS[..., 0])
    assert data.shape == (8, 8, 1)
    assert data.sha256 == InMemoryDataset.from_array(PIXELS[..., :1]).sha256


def test_floats_with_negative_values_are_between_minus_one_and_one() -> None:
    images = PIXELS.astype(np.float32) / 127.5 - 1
    assert np.array_equal(InMemoryDataset.from_array(images).pixels, PIXELS)


@pytest.mark.parametrize(
    ("array", "value_range"),
    [
        (PIXELS / 255, (0, 1)),
        (PIXELS.astype(np.float32), (0, 255)),
        (PIXELS.astype(np.uint16) * 257, (0, 65535)),
        (PIXELS.astype(np.int64), (0, 255)),
        (PIXELS // 255, (0, 1)),
    ],
)
def test_a_value_range_makes_any_numbers_pixels(
    array: npt.NDArray[np.generic], value_range: tuple[float, float]
) -> None:
    expected = PIXELS // 255 * 255 if array.dtype == np.uint8 else PIXELS
    assert np.array_equal(InMemoryDataset.from_array(array, value_range).pixels, expected)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (PIXELS / 255, r"float64 values from 0 to 1 is ambiguous.*value_range=\(black, white\)"),
        (PIXELS.astype(np.float32), "from 0 to 255 is ambiguous"),
        (PIXELS.astype(np.uint16) * 16, "uint16 values"),
        (PIXELS.astype(np.int64), "int64 values"),
        (np.full((2, 8, 8), np.nan), "ambiguous"),
        (PIXELS.astype(np.complex64), "complex64"),
        (PIXELS[:0], "at least one"),
        (PIXELS.transpose(0, 3, 1, 2), r"\[6, 3, 8, 8\].*transpose"),
        (PIXELS[0, 0], r"shape \[8, 3\]"),
        (np.zeros((2, 8, 8, 17), np.uint8), "1 to 16 channels"),
    ],
)
def test_other_arrays_are_errors_that_say_what_is_allowed(
    array: npt.NDArray[np.generic], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        InMemoryDataset.from_array(array)


def test_values_outside_the_value_range_are_an_error() -> None:
    with pytest.raises(DataError, match="outside value_range"):
        InMemoryDataset.from_array(PIXELS / 255, (0, 0.5))
    with pytest.raises(DataError, match="hold NaN"):
        InMemoryDataset.from_array(np.where(PIXELS > 9, np.nan, PIXELS), (0, 255))


@pytest.mark.parametrize("value_range", [(1, 0), (0, float("nan")), 5, "01x", (0, 1, 2)])
def test_a_value_range_is_two_numbers_the_lower_one_first(value_range: Any) -> None:
    with pytest.raises(DataError, match=r"value_range=.* is not allowed: give"):
        InMemoryDataset.from_array(PIXELS / 255, value_range)


@pytest.mark.parametrize("value_range", [None, (0, 1), np.array([0, 1])])
def test_booleans_are_black_and_white(value_range: Any) -> None:
    found = InMemoryDataset.from_array(PIXELS > 128, value_range).pixels
    assert np.array_equal(found, np.where(PIXELS > 128, 255, 0))
    with pytest.raises(DataError, match="booleans are black and white: leave out value_range"):
        InMemoryDataset.from_array(PIXELS > 128, (0, 255))


def test_labels_are_no_numbers_of_another_kind() -> None:
    with pytest.raises(DataError, match="the labels go up to 300000000000: number at most 10,000"):
        InMemoryDataset.from_array(PIXELS[:2], labels=[300_000_000_000, 2])


def test_images_of_another_size_than_the_run_are_an_error() -> None:
    data = InMemoryDataset.from_array(PIXELS)
    check_image_shape(data, (8, 8, 3))
    for shape in ((32, 32, 3), (8, 16, 3), (8, 8, 1)):
        with pytest.raises(DataError, match="8x8 with 3 channels, but the run is set to"):
            check_image_shape(data, shape)


@pytest.mark.parametrize("shape", [(4, 6, 10, 3), (4, 6, 10, 5), (4, 12, 8, 16), (4, 8, 9)])
def test_arrays_may_be_rectangles_of_up_to_16_bands(shape: tuple[int, ...]) -> None:
    array = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    data = InMemoryDataset.from_array(array)
    assert data.shape == (*shape[1:3], shape[3] if len(shape) == 4 else 1)
    batch = data.batches(4, seed=0, device=torch.device("cpu"), flip=True).next()
    assert batch.shape == (4, data.shape[2], *shape[1:3])


def test_images_for_evaluation_are_evenly_spaced_and_in_batches() -> None:
    data = InMemoryDataset.from_array(PIXELS)
    first, second = data.images(3, batch_size=2)
    assert np.array_equal(np.concatenate([first, second]), PIXELS[[0, 2, 4]])


def test_the_holdout_is_a_random_share_rounded_up_and_the_rest_is_trained_on() -> None:
    train, held_out = split(10, 0.15, seed=3)
    assert len(held_out) == 2
    assert sorted([*train, *held_out]) == list(range(10))
    data = InMemoryDataset.from_array(PIXELS)
    some, others = data.train_and_holdout(0.5, seed=0, n=2)
    assert (len(some.pixels), len(others.pixels)) == (2, 2)


def test_the_array_of_the_documentation_is_a_dataset() -> None:
    (block,) = code_blocks("docs/data.md", "python")
    names: dict[str, InMemoryDataset] = {}
    exec(block, {}, names)
    assert (names["dataset"].count, names["dataset"].shape) == (100, (32, 32, 3))
