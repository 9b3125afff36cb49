import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from torchvision.transforms import v2

from tests.training.data.conftest import RealData
from wgan.errors import ImageError, UsageError
from wgan.image_shape import FITS
from wgan.training.data.data_range import data_range_text, parse_data_range
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
    with pytest.raises(ImageError, match=r"floating-point.*--range"):
        COLOUR(Image.new("F", (8, 8)))
    with pytest.raises(ImageError, match=r"int16.*--range"):
        COLOUR(np.zeros((8, 8, 1), np.int16))
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


def gradient(height: int, width: int) -> Image.Image:
    """Columns from black to white in red, rows in green."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.linspace(0, 255, width).round()
    pixels[:, :, 1] = np.linspace(0, 255, height).round()[:, None]
    return Image.fromarray(pixels)


@pytest.mark.parametrize("source", [(40, 100), (100, 40), (48, 80), (10, 11), (500, 100)])
@pytest.mark.parametrize("fit", FITS)
def test_images_become_rectangles_and_it_is_known_what_is_removed(
    source: tuple[int, int], fit: str
) -> None:
    height, width = source
    transform = Transform(size="24x40", channels=3, fit=fit)
    pixels = transform(gradient(height, width))
    assert pixels.shape == (24, 40, 3)
    removed = transform.removed(width, height)
    if fit != "crop":
        assert removed == 0
        return
    # What is left of the gradients says how much was removed, to a pixel or so of the result.
    left = [np.ptp(pixels[:, :, axis].astype(float)) / 255 for axis in (0, 1)]
    assert left[0] * left[1] == pytest.approx(1 - removed, abs=0.12)


def test_the_share_removed_of_a_wide_image_is_that_of_its_sides() -> None:
    assert Transform(size=32, channels=3).removed(160, 90) == pytest.approx(1 - 90 / 160, abs=0.02)
    assert Transform(size=32, channels=3, crop=50).removed(100, 100) == 0.75
    assert Transform(size="36x64", channels=3).removed(160, 90) == 0


def test_padding_has_the_background_and_the_whole_image() -> None:
    transform = Transform(size=32, channels=3, fit="pad", background=(9, 8, 7))
    pixels = transform(Image.new("RGB", (64, 32), "red"))
    assert (pixels[:8] == (9, 8, 7)).all()
    assert (pixels[24:] == (9, 8, 7)).all()
    assert (pixels[8:24] == (255, 0, 0)).all()


def test_stretching_equals_a_plain_resize() -> None:
    image = Image.fromarray(noise(50, 90, 3))
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC))
    assert np.array_equal(Transform(size=32, channels=3, fit="stretch")(image), expected)


def test_kept_alpha_is_resized_with_premultiplied_colours() -> None:
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # invisible green
    image.paste((255, 0, 0, 255), (0, 0, 33, 64))
    pixels = Transform(size=32, channels=4)(image)
    visible = pixels[:, :, 3] > 0
    assert (pixels[visible][:, :2] == (255, 0)).all()
    assert 0 < pixels[0, 16, 3] < 255  # the column that both halves share
    assert (pixels[~visible] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "HSV", "I;16"])
@pytest.mark.parametrize("channels", [2, 4])
def test_every_mode_has_a_form_with_alpha(mode: str, channels: int) -> None:
    pixels = Transform(size=32, channels=channels)(Image.new(mode, (40, 50)))
    assert pixels.shape == (32, 32, channels)


def test_padding_of_images_with_alpha_is_transparent() -> None:
    pixels = Transform(size=32, channels=4, fit="pad")(Image.new("RGB", (64, 32), "red"))
    assert (pixels[:8] == 0).all()
    assert (pixels[8:24] == (255, 0, 0, 255)).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", FITS)
def test_an_array_becomes_what_its_image_becomes(channels: int, fit: str) -> None:
    values = noise(40, 61, channels)
    transform = Transform(size=32, channels=channels, fit=fit, background=(10, 90, 200))
    image = Image.fromarray(values[:, :, 0] if channels == 1 else values)
    assert np.array_equal(transform(values), transform(image))


@pytest.mark.parametrize("bands", [2, 4, 5, 16])
def test_each_band_of_an_array_is_resized_alone(bands: int) -> None:
    values = noise(40, 61, bands)
    pixels = Transform(size="24x32", channels=bands)(values)
    one = Transform(size="24x32", channels=1)
    for band in range(bands):
        assert np.array_equal(pixels[:, :, band], one(values[:, :, [band]])[:, :, 0])


def test_an_image_without_so_many_bands_is_named() -> None:
    with pytest.raises(ImageError, match="mode RGB, and --channels 6 needs as many bands"):
        Transform(size=16, channels=6)(Image.new("RGB", (8, 8)))


def test_the_identity_of_a_square_crop_is_that_of_earlier_versions() -> None:
    fields = {"size": 32, "channels": 3, "crop": 0, "background": (255, 255, 255)}
    assert COLOUR.identity() == fields
    padded = Transform(size="48x80", channels=3, fit="pad")
    assert padded.identity() == fields | {"size": "48x80", "fit": "pad"}


def test_an_unknown_background_colour_is_an_error() -> None:
    with pytest.raises(UsageError, match="--background 'wite'"):
        parse_colour("wite")


def grey(data_range: tuple[float, float]) -> Transform:
    return Transform(size=8, channels=1, data_range=data_range)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("is_array", [True, False])
def test_a_range_maps_values_of_every_type_to_black_and_white(
    dtype: npt.DTypeLike, is_array: bool
) -> None:
    values = np.array([[49, 50, 129, 208, 300]] * 5).astype(dtype)
    image = values[:, :, None] if is_array else as_pillow(values)
    pixels = Transform(size=5, channels=1, data_range=(50, 208))(image)
    assert pixels[0, :, 0].tolist() == [0, 0, 128, 255, 255]  # 255 * 79 / 158 = 127.5, to even


def as_pillow(values: npt.NDArray[np.generic]) -> Image.Image:
    if values.dtype == np.float64:
        values = values.astype(np.float32)
    if values.dtype == np.int16:
        values = values.astype(np.int32)
    return Image.fromarray(values)


def test_a_range_below_zero_is_allowed() -> None:
    values = np.full((8, 8, 1), -50, np.int16)
    assert (grey((-100, 0))(values) == 128).all()


def test_a_range_applies_to_8_bit_colours_and_not_to_their_alpha() -> None:
    image = Image.new("RGBA", (8, 8), (100, 150, 200, 255))
    transform = Transform(size=8, channels=3, data_range=(100, 200))
    assert transform(image)[0, 0].tolist() == [0, 128, 255]


def test_not_a_number_becomes_black_unless_all_are() -> None:
    values = np.full((8, 8, 1), np.nan)
    with pytest.raises(ImageError, match="NaN"):
        grey((0, 1))(values)
    values[:4] = 1
    pixels = Transform(size=8, channels=1, data_range=(-1, 1))(values)
    assert (pixels[:4] == 255).all()
    assert (pixels[4:] == 0).all()


def test_16_bit_arrays_use_all_16_bits_without_a_range() -> None:
    values = np.full((8, 8, 1), 0x8000, np.uint16)
    assert (Transform(size=8, channels=1)(values) == 128).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 5, 16])
def test_bands_of_an_array_are_resized_alike(bands: int) -> None:
    array = noise(40, 50, bands)
    pixels = Transform(size=20, channels=bands, crop=36)(array)
    assert pixels.shape == (20, 20, bands)
    for band in range(bands):
        alone = Transform(size=20, channels=1, crop=36)(Image.fromarray(array[:, :, band]))
        assert np.array_equal(pixels[:, :, band], alone[:, :, 0])


def test_of_four_bands_the_first_three_are_colours_and_none_is_alpha() -> None:
    array = np.empty((8, 8, 4), np.uint8)
    array[:] = (200, 30, 30, 0)
    assert Transform(size=8, channels=3)(array)[0, 0].tolist() == [200, 30, 30]


def test_bands_that_do_not_suit_the_channels_are_refused() -> None:
    with pytest.raises(ImageError, match="5 bands, not 3: give --channels 5"):
        COLOUR(np.zeros((8, 8, 5), np.uint8))


def test_a_transform_without_a_range_has_the_identity_of_earlier_versions() -> None:
    assert set(COLOUR.identity()) == {"size", "channels", "crop", "background"}
    assert grey((0, 1)).identity()["data_range"] == (0, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50,208", (50, 208)), ("-1.5,1e3", (-1.5, 1000)), (" 0 , 1", (0, 1)), ("", None)],
)
def test_a_range_is_read_and_written(text: str, expected: tuple[float, float] | None) -> None:
    assert parse_data_range(text) == expected
    if expected is not None:
        assert parse_data_range(data_range_text(expected)) == expected


@pytest.mark.parametrize("text", ["5", "2,1", "1,1", "a,b", "0,inf", "nan,1", "1,2,3"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--range .* LOW,HIGH"):
        parse_data_range(text)
