import numpy as np
import pytest

from wgan.errors import UsageError
from wgan.runtime.config import parse_value_range
from wgan.runtime.image_output import ImageOutput

PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-0.5, 3.0)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_floats_of_any_range_and_layout_convert_to_the_pixels(
    layout: str, value_range: tuple[float, float]
) -> None:
    low, high = value_range
    raw = (low + PIXELS / 255.0 * (high - low)).astype(np.float32)
    if layout == "nchw":
        raw = raw.transpose(0, 3, 1, 2)
    output = ImageOutput("out", layout, value_range)  # type: ignore[arg-type]
    np.testing.assert_array_equal(output.pixels(raw), PIXELS)
    expected = (PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)
    assert np.abs(output.images(raw) - expected).max() < 1e-6
    assert output.images(raw).dtype == np.float32


def test_pixels_are_unchanged() -> None:
    last = ImageOutput("out", "nhwc", None)
    first = ImageOutput("out", "nchw", None)
    np.testing.assert_array_equal(last.pixels(PIXELS), PIXELS)
    np.testing.assert_array_equal(first.pixels(PIXELS.transpose(0, 3, 1, 2)), PIXELS)
    assert np.abs(last.images(PIXELS) - (PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)).max() < 1e-6


def test_a_value_range_is_two_numbers() -> None:
    assert parse_value_range("-1,1") == (-1, 1)
    assert parse_value_range("0, 255") == (0, 255)


@pytest.mark.parametrize("text", ["", "1", "1,0", "0,0", "0,1,2", "a,b", "nan,1", "0,inf"])
def test_other_texts_than_a_value_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        parse_value_range(text)
