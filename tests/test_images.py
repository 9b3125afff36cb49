import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wgan.errors import UsageError
from wgan.images import (
    decode_bands,
    encode,
    encode_bands,
    enlarge,
    evenly_spaced,
    grid,
    grid_shape,
    to_colour,
    to_images,
    to_pil,
    to_pixels,
    viewable,
)
from wgan.options import options, parse_text
from wgan.runtime.config import SampleConfig


def test_every_pixel_value_survives_conversion_to_images_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_pixels(to_images(pixels)), pixels)


def test_images_are_rounded_to_nearest_and_clipped() -> None:
    values = np.array([-1, 1, 0.5 / 127.5 - 1, 1.49 / 127.5 - 1, 1.51 / 127.5 - 1, -3, 3])
    pixels = to_pixels(values.astype(np.float32).reshape(1, 1, 1, -1))
    assert pixels.ravel().tolist() == [0, 255, 0, 1, 2, 0, 255]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 16])
def test_every_band_survives_encoding(channels: int) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (6, 10, channels)).astype(np.uint8)
    assert np.array_equal(decode_bands(encode_bands(pixels), channels), pixels)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 4), (5, 3), (16, 3)])
def test_the_first_bands_can_be_looked_at(channels: int, shown: int) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (2, 6, 10, channels)).astype(np.uint8)
    assert np.array_equal(viewable(pixels), pixels[..., :shown])
    assert to_pil(viewable(pixels)[0]).size == (10, 6)


def test_bands_that_no_image_file_holds_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1, 3 or 4 channels.*wgan\.images\.viewable"):
        encode(np.zeros((4, 4, 5), np.uint8))


def test_alpha_over_white_equals_pillows() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (32, 32, 4)).astype(np.uint8)
    white = Image.new("RGBA", (32, 32), "white")
    expected = Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB")
    assert np.abs(to_colour(pixels).astype(int) - np.asarray(expected)).max() <= 1


def test_unused_cells_of_images_with_alpha_are_transparent() -> None:
    sheet = grid(np.full((3, 2, 2, 4), 9, np.uint8))
    assert (sheet[2:, 2:] == 0).all()


def test_channels_move_last() -> None:
    images = np.zeros((2, 3, 4, 5), dtype=np.float32)
    images[:, 1] = 1
    pixels = to_pixels(images)
    assert pixels.shape == (2, 4, 5, 3)
    assert pixels[0, 0, 0].tolist() == [128, 255, 128]


@given(st.integers(1, 500))
def test_the_default_grid_holds_all_images_and_no_empty_row(n: int) -> None:
    rows, columns = grid_shape(n)
    assert rows * columns >= n > (rows - 1) * columns
    assert rows <= columns


def test_a_grid_is_filled_row_by_row_and_the_rest_is_white() -> None:
    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    laid = grid(pixels, (2, 2))
    assert laid[::2, ::2, 0].tolist() == [[0, 1], [2, 255]]


def test_small_images_are_enlarged_by_whole_pixels_and_large_ones_stay() -> None:
    pixels = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5, 1)
    expected = np.kron(pixels, np.ones((1, 2, 2, 1), np.uint8))
    np.testing.assert_array_equal(enlarge(pixels, 14), expected)
    np.testing.assert_array_equal(enlarge(pixels[0], 14), expected[0])
    for side in (4, 5, 9):
        np.testing.assert_array_equal(enlarge(pixels, side), pixels)


def test_a_grid_too_small_is_refused() -> None:
    with pytest.raises(UsageError, match="1x2 has no room for 3"):
        grid(np.zeros((3, 2, 2, 1), np.uint8), (1, 2))


@pytest.mark.parametrize("text", ["", "8", "8x", "0x3", "8x8x8", "ax2"])
def test_a_grid_that_is_not_rows_and_columns_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="ROWSxCOLUMNS"):
        parse_text(text, "grid", *options(SampleConfig)["grid"])


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_an_encoded_image_is_lossless_and_the_same_each_time(channels: int, mode: str) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (8, 8, channels)).astype(np.uint8)
    data = encode(pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(8, 8, channels), pixels)
    assert encode(pixels) == data


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_one_image_and_a_grid_convert_to_pillow(channels: int, mode: str) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (4, 8, 6, channels)).astype(np.uint8)
    image = to_pil(pixels[0])
    assert (image.mode, image.size) == (mode, (6, 8))
    assert np.array_equal(np.asarray(image).reshape(8, 6, channels), pixels[0])
    assert to_pil(grid(pixels)).size == (12, 16)


def test_an_array_that_is_not_one_image_is_refused() -> None:
    for array in (np.zeros((4, 8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.uint8)):
        with pytest.raises(UsageError, match=r"not one image.*wgan\.images\.grid"):
            to_pil(array)


@given(st.integers(1, 300), st.integers(1, 300))
def test_evenly_spaced_indices_are_distinct_and_cover_the_data(count: int, n: int) -> None:
    n = min(n, count)
    chosen = evenly_spaced(count, n)
    assert len(set(chosen.tolist())) == n
    assert chosen[0] == 0
    assert count - chosen[-1] <= -(-count // n)
