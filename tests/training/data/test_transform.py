import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision.transforms import v2

from tests.training.data.conftest import RealData
from wgan.errors import ImageError, UsageError
from wgan.training.data.decoding import decode
from wgan.training.data.transform import Transform, parse_colour

COLOUR = Transform(size=32, channels=3)


def noise(*shape: int) -> npt.NDArray[np.uint8]:
    """Values from the middle: Pillow may swap the order of its two passes, which clip between."""
    return np.random.RandomState(0).randint(80, 176, shape).astype(np.uint8)


@pytest.mark.parametrize("size", [(128, 128), (100, 61), (61, 100), (32, 32), (20, 33), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_equals_torchvisions_resize_and_centre_crop(
    size: tuple[int, int], channels: int
) -> None:
    image = Image.fromarray(noise(size[1], size[0], 3))
    theirs = v2.Compose(
        [
            v2.Grayscale() if channels == 1 else v2.Identity(),
            v2.Resize(32, v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(32),
        ]
    )
    ours = Transform(size=32, channels=channels)(image)
    assert ours.shape == (32, 32, channels)
    difference = ours.astype(int) - np.asarray(theirs(image)).reshape(32, 32, channels)
    assert np.abs(difference).max() <= 1


def test_a_very_long_image_takes_no_memory() -> None:
    # Resized whole, its longer side would come to 32 * 2**24 pixels.
    assert COLOUR(Image.new("RGB", (1, 2**24), "red"))[16, 16].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX",
                                  "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "I;16B"])  # fmt: skip
def test_every_mode_that_pillow_reads_becomes_colour(mode: str) -> None:
    assert COLOUR(Image.new(mode, (40, 50))).shape == (32, 32, 3)


def test_alpha_is_composited_over_white() -> None:
    half_red = Image.new("RGBA", (8, 8), (255, 0, 0, 128))
    assert COLOUR(half_red)[0, 0].tolist() == [255, 127, 127]


def test_invisible_colours_of_transparent_pixels_do_not_bleed_in() -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))  # invisible black
    image.paste((255, 255, 255, 255), (0, 0, 33, 64))
    assert (COLOUR(image) == 255).all()


def test_a_transparent_palette_entry_is_composited_over_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.info["transparency"] = 1
    assert (COLOUR(image) == 255).all()


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257, 1), (0x8000, 128), (65535, 255)])
def test_sixteen_bits_are_scaled_not_clipped(value: int, expected: int) -> None:
    image = Image.fromarray(np.full((8, 8), value, dtype=np.uint16))
    assert (COLOUR(image) == expected).all()


def test_a_transparent_16_bit_value_is_composited_over_white(
    real_data: RealData,
) -> None:
    path = real_data("odd-images") / "i_trns.png"
    with Image.open(path) as image:
        values, hidden = np.asarray(image), image.info["transparency"]
    assert (values == hidden).any()
    expected = np.where(values == hidden, 255, np.rint(values / 257))
    ours = Transform(size=64, channels=1)(decode(path))
    assert np.array_equal(ours[:, :, 0], expected)


def test_cmyk_is_converted_with_the_right_sign(real_data: RealData) -> None:
    # Adobe keeps CMYK inverted: read naively, its black background would be white.
    pixels = COLOUR(decode(real_data("odd-images") / "pil_sample_cmyk.jpg"))
    assert pixels[-1, 16].max() < 30
    red = pixels[15:22, 5:27].reshape(-1, 3).max(axis=0).astype(int)
    assert red[0] > 150 > 100 > max(red[1:])


def test_grey_with_alpha_is_composited_over_white(real_data: RealData) -> None:
    path = real_data("odd-images") / "uncompressed_la.png"
    grey, alpha = (np.asarray(band).astype(float) for band in Image.open(path).split())
    expected = (grey * alpha + 255 * (255 - alpha)) / 255
    ours = Transform(size=128, channels=1)(decode(path))
    assert np.abs(ours[:, :, 0] - expected).max() <= 1


def test_values_without_a_standard_range_are_rejected() -> None:
    with pytest.raises(ImageError, match="floating-point"):
        COLOUR(Image.new("F", (8, 8)))
    with pytest.raises(ImageError, match="65535"):
        COLOUR(Image.new("I", (8, 8), 70000))


@pytest.mark.parametrize("size", [(64, 64), (218, 178), (51, 83)])
def test_cropping_first_equals_torchvisions_centre_crop_and_resize(size: tuple[int, int]) -> None:
    image = Image.fromarray(noise(size[1], size[0], 3))
    theirs = v2.Compose(
        [v2.CenterCrop(50), v2.Resize(32, v2.InterpolationMode.BICUBIC, antialias=True)]
    )
    ours = Transform(size=32, channels=3, crop=50)(image).astype(int)
    assert np.abs(ours - np.asarray(theirs(image))).max() <= 1


def test_an_image_smaller_than_the_crop_is_used_whole() -> None:
    image = Image.fromarray(noise(40, 40, 3))
    cropped = Transform(size=32, channels=3, crop=178)(image)
    assert np.array_equal(cropped, COLOUR(image))


def test_a_transparent_colour_survives_the_crop() -> None:
    image = Image.new("L", (64, 64), 7)
    image.info["transparency"] = 7
    assert (Transform(size=32, channels=3, crop=40)(image) == 255).all()


@pytest.mark.parametrize(
    ("text", "colour"),
    [("white", (255, 255, 255)), ("#00ff10", (0, 255, 16)), ("rgb(1, 2, 3)", (1, 2, 3))],
)
def test_alpha_is_composited_over_the_given_background(
    text: str, colour: tuple[int, int, int]
) -> None:
    transform = Transform(size=32, channels=3, background=parse_colour(text))
    assert transform(Image.new("RGBA", (8, 8), (9, 9, 9, 0)))[0, 0].tolist() == list(colour)


def test_an_unknown_background_colour_is_an_error() -> None:
    with pytest.raises(UsageError, match="--background 'wite'"):
        parse_colour("wite")
