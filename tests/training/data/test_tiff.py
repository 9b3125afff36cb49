import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from wgan.errors import DataError, ImageError
from wgan.training.data import Transform, open_source
from wgan.training.data.data_range import parse_data_range
from wgan.training.data.decoding import count_frames, decode, quiet_pillow
from wgan.training.data.sources.image_files import FolderSource

tifffile = pytest.importorskip("tifffile")

RANDOM = np.random.RandomState(0)


def noise(*shape: int, high: int = 256, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[Any]:
    return RANDOM.randint(0, high, shape).astype(dtype)


def write(path: Path, values: npt.NDArray[Any], **settings: Any) -> Path:
    tifffile.imwrite(path, values, **settings)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_five_bands_are_read_exactly(
    tmp_path: Path, dtype: npt.DTypeLike, planar: bool, compression: str | None
) -> None:
    values = noise(20, 24, 5, dtype=dtype)
    stored = values.transpose(2, 0, 1) if planar else values
    settings = {"planarconfig": "separate" if planar else "contig", "compression": compression}
    path = write(tmp_path / "a.tif", stored, photometric="minisblack", **settings)
    image = decode(path)
    assert isinstance(image, np.ndarray)
    assert image.dtype == dtype
    assert np.array_equal(image, values)
    assert FolderSource(tmp_path).channels == 5


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64, np.int8])
def test_one_band_of_every_type_is_mapped_by_the_range(
    tmp_path: Path, dtype: npt.DTypeLike
) -> None:
    values = noise(16, 16, high=128, dtype=dtype)
    path = write(tmp_path / "a.tif", values)
    pixels = Transform(size=16, channels=1, data_range=(0, 127))(decode(path))
    assert np.abs(pixels[:, :, 0] - values / 127 * 255).max() <= 0.5


def test_16_bit_colours_keep_their_bits_for_a_range(tmp_path: Path) -> None:
    values = noise(16, 16, 3, high=4096, dtype=np.uint16)
    path = write(tmp_path / "a.tif", values, photometric="rgb")
    pixels = Transform(size=16, channels=3, data_range=(0, 4095))(decode(path))
    assert np.abs(pixels - values / 4095 * 255).max() <= 0.5
    whole = Transform(size=16, channels=3)(decode(path))
    assert np.abs(whole - values / 65535 * 255).max() <= 1


def test_16_bit_colours_of_a_png_use_the_range_too(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = noise(16, 16, 3, high=65536, dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    pixels = Transform(size=16, channels=3, data_range=(0, 32767))(decode(tmp_path / "a.png"))
    expected = np.clip(values / 32767 * 255, 0, 255)
    assert np.abs(pixels - expected).max() <= 3  # Pillow keeps 8 of the 16 bits


@pytest.mark.parametrize("extra", ["unassalpha", "unspecified"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_near_infrared_is_no_alpha_whatever_the_file_says(
    tmp_path: Path, extra: str, dtype: npt.DTypeLike
) -> None:
    scale = np.array(257 if dtype == np.uint16 else 1, dtype)
    for number in range(3):
        values = np.empty((16, 16, 4), dtype)
        values[:, :, :3] = np.array([200, 30, 30], dtype) * scale
        values[:, :, 3] = noise(16, 16, high=200).astype(dtype) * scale
        write(tmp_path / f"{number}.tif", values, photometric="rgb", extrasamples=[extra])
    source = FolderSource(tmp_path)
    for index in range(3):
        pixels = Transform(size=16, channels=3)(source.image(index, 16))
        assert (pixels == [200, 30, 30]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_that_is_alpha_is_composited(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    values = np.zeros((16, 16, 4), dtype)
    values[:8] = np.iinfo(dtype).max  # white and opaque above, black and clear below
    path = write(tmp_path / "a.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert (Transform(size=16, channels=3)(decode(path)) == 255).all()


def test_one_saturated_tile_does_not_change_what_the_fourth_band_is(tmp_path: Path) -> None:
    for number in range(5):
        values = np.full((16, 16, 4), 40, np.uint8)
        values[:, :, 3] = 255 if number == 4 else noise(16, 16, high=200)
        write(tmp_path / f"{number}.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    source = FolderSource(tmp_path)
    assert {type(source.image(index, 16)) for index in range(5)} == {np.ndarray}


def test_more_bands_than_are_allowed_are_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", noise(20, 24, 17), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ImageError, match="17 bands"):
        decode(path)


def test_pages_are_images_with_all_frames(tmp_path: Path) -> None:
    stack = noise(7, 20, 24)
    write(tmp_path / "stack.tif", stack, photometric="minisblack")
    assert count_frames(tmp_path / "stack.tif") == 7
    assert len(FolderSource(tmp_path)) == 1
    source = open_source(tmp_path, frames="all")
    assert len(source) == 7
    assert source.image_name(6).endswith("stack.tif, frame 6")
    for index in (6, 0, 3):
        assert np.array_equal(np.asarray(source.image(index, 32)), stack[index])
    assert source.fingerprint() != FolderSource(tmp_path).fingerprint()


def test_smaller_copies_in_a_pyramid_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(noise(64, 64), photometric="minisblack")
        writer.write(noise(32, 32), photometric="minisblack", subfiletype=1)
    assert count_frames(tmp_path / "a.tif") == 1


def test_a_file_of_many_pages_is_used_with_all_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "stack.tif", noise(7, 20, 24), photometric="minisblack")
    with pytest.raises(DataError, match=r"7 frames or pages.*--frames all"):
        open_source(path)
    assert len(open_source(path, frames="all")) == 7


def test_damaged_tiffs_are_skipped(tmp_path: Path) -> None:
    content = write(tmp_path / "a.tif", noise(20, 24, 5), photometric="minisblack").read_bytes()
    (tmp_path / "a.tif").unlink()
    write(tmp_path / "good.tif", noise(20, 24, 5), photometric="minisblack")
    random = np.random.RandomState(0)
    for number in range(60):
        damaged = bytearray(content)
        for place in random.randint(0, 300, 3):
            damaged[place] = random.randint(256)
        (tmp_path / f"{number}.tif").write_bytes(damaged)
    source = open_source(tmp_path)
    read = 0
    with quiet_pillow():
        for index in range(len(source)):
            with contextlib.suppress(ImageError):  # and nothing else
                source.image(index, 16)
                read += 1
    assert 1 <= read < 61


def test_a_range_as_the_option_has_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", np.full((8, 8), 500, np.float32))
    transform = Transform(size=8, channels=1, data_range=parse_data_range("100,1000"))
    assert (transform(decode(path)) == round(400 / 900 * 255)).all()


def test_orientation_is_applied_to_what_pillow_reads(tmp_path: Path) -> None:
    image = Image.fromarray(noise(20, 24))
    image.save(tmp_path / "a.tif", tiffinfo={274: 6})
    decoded = decode(tmp_path / "a.tif")
    assert isinstance(decoded, Image.Image)
    assert decoded.size == (20, 24)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_to_what_tifffile_reads(tmp_path: Path, orientation: int) -> None:
    values = noise(20, 24, 3)
    tag = (274, "H", 1, orientation, True)
    write(tmp_path / "8.tif", values, photometric="rgb", extratags=[tag])
    wide = values.astype(np.uint16) * 257
    write(tmp_path / "16.tif", wide, photometric="rgb", extratags=[tag])
    by_pillow, by_tifffile = decode(tmp_path / "8.tif"), decode(tmp_path / "16.tif")
    assert isinstance(by_tifffile, np.ndarray)
    assert np.array_equal(by_tifffile, np.asarray(by_pillow).astype(np.uint16) * 257)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_grey_whose_0_is_white_is_inverted(
    tmp_path: Path, dtype: npt.DTypeLike, byteorder: Any
) -> None:
    values = noise(20, 24, high=200, dtype=dtype)
    path = tmp_path / "a.tif"
    write(path, values, photometric="miniswhite", byteorder=byteorder)
    assert np.array_equal(np.asarray(decode(path)).squeeze(), np.iinfo(dtype).max - values)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_fourth_band_of_small_16_bit_values_is_no_alpha(tmp_path: Path, byteorder: Any) -> None:
    for number in range(3):
        values = noise(16, 16, 4, high=250, dtype=np.uint16) + np.uint16(1)
        path = tmp_path / f"{number}.tif"
        write(path, values, photometric="rgb", extrasamples=["unassalpha"], byteorder=byteorder)
        for image in (decode(path), open_source(tmp_path).image(number, 16)):
            assert np.array_equal(np.asarray(image), values)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_unsigned_32_bit_values_stay_positive(tmp_path: Path, byteorder: Any) -> None:
    values = noise(16, 16, dtype=np.uint32) << np.uint32(24)
    path = write(tmp_path / "a.tif", values, byteorder=byteorder)
    assert np.array_equal(np.asarray(decode(path)).squeeze(), values)
    pixels = Transform(size=16, channels=1, data_range=(0, 255 * 2**24))(decode(path))
    assert np.array_equal(pixels.squeeze(), values >> np.uint32(24))


def test_unsigned_32_bit_values_of_16_bits_need_no_range(tmp_path: Path) -> None:
    values = noise(16, 16, dtype=np.uint32)
    path = write(tmp_path / "a.tif", values * np.uint32(257))
    assert np.array_equal(Transform(size=16, channels=1)(decode(path)).squeeze(), values)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_bigtiff_of_either_byte_order_is_read(tmp_path: Path, byteorder: Any, bands: int) -> None:
    values = noise(32, 24, bands)
    values[:, :, 3:] = 255
    extra = {"photometric": "rgb", "extrasamples": ["unassalpha"] if bands == 4 else None}
    settings = {"bigtiff": True, "byteorder": byteorder} | (extra if bands > 1 else {})
    image = decode(write(tmp_path / "a.tif", values.squeeze(), **settings))
    assert isinstance(image, Image.Image)
    assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[bands]
    assert np.array_equal(np.asarray(image), values.squeeze())


def test_pages_of_a_big_endian_bigtiff_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write(path, noise(7, 20, 24), photometric="minisblack", bigtiff=True, byteorder=">")
    assert count_frames(path) == 7


def test_webp_in_a_tiff_is_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("imagecodecs")
    for bands in (3, 4):
        values = noise(32, 24, bands)
        values[..., 3:] = 255
        path = tmp_path / f"{bands}.tif"
        extra = {"extrasamples": ["unassalpha"]} if bands == 4 else {}
        settings = {"compression": "webp", "compressionargs": {"level": -1}, **extra}
        write(path, values, photometric="rgb", **settings)
        found = decode(path)
        assert isinstance(found, Image.Image)
        assert np.array_equal(np.asarray(found), values)
    assert not capfd.readouterr().err  # libtiff's complaints


def test_a_palette_that_pillow_cannot_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    palette = noise(3, 256, dtype=np.uint16)
    settings = {"photometric": "palette", "colormap": palette, "bigtiff": True, "byteorder": ">"}
    write(path, noise(8, 8), **settings)
    with pytest.raises(ImageError, match=r"palette.*convert it to RGB"):
        decode(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_pages_of_every_type_become_files_of_the_same_values(
    tmp_path: Path, dtype: npt.DTypeLike
) -> None:
    values = noise(3, 20, 24, dtype=dtype) * np.array(200, dtype) - np.array(50, dtype)
    write(tmp_path / "a.tif", values, photometric="minisblack")
    source = open_source(tmp_path, frames="all")
    for index in range(3):
        file = io.BytesIO(source.encoded(index)[0])
        assert np.array_equal(np.asarray(decode(file)).squeeze(), values[index])


def test_pages_in_cmyk_become_files_of_the_same_colours(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise(3, 20, 24, 4), photometric="separated")
    source = open_source(tmp_path, frames="all")
    transform = Transform(size=16, channels=3)
    for index in range(3):
        file = io.BytesIO(source.encoded(index)[0])
        assert np.array_equal(transform(decode(file)), transform(source.image(index, 16)))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_packed_values_of_12_bits_are_white_at_4095(tmp_path: Path, photometric: str) -> None:
    values = noise(16, 16, high=4096, dtype=np.uint16)
    write(tmp_path / "a.tif", values, bitspersample=12, photometric=photometric)
    values = 4095 - values if photometric == "miniswhite" else values
    image = decode(tmp_path / "a.tif")
    pixels = Transform(size=16, channels=1)(image)
    assert np.abs(pixels[:, :, 0] - values / 4095 * 255).max() <= 1
    ranged = Transform(size=16, channels=1, data_range=(0, 2047))(image)  # in the file's values
    assert np.abs(ranged[:, :, 0] - np.minimum(values / 2047 * 255, 255)).max() <= 1


def test_shards_keep_what_all_files_say_of_a_fourth_band(tmp_path: Path) -> None:
    bands = noise(6, 16, 16, 4)
    bands[5, ..., 3] = 0  # would be clear, if this image alone were asked
    for number, each in enumerate(bands):
        write(tmp_path / f"{number}.tif", each, photometric="rgb", extrasamples=["unassalpha"])
    source = open_source(tmp_path)
    for index, each in enumerate(bands):
        image = source.image(index, 16)
        assert np.array_equal(np.asarray(image), each)
        stored = decode(io.BytesIO(source.encoded(index)[0]))
        assert type(stored) is type(image)
        assert np.array_equal(np.asarray(stored), each)


def test_shards_keep_the_files_of_tiffs_without_a_fourth_band(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise(16, 16, 4), photometric="rgb", extrasamples=["unassalpha"])
    write(tmp_path / "b.tif", noise(16, 16, 3), photometric="rgb")
    source = open_source(tmp_path)
    assert [source.encoded(k)[1] for k in range(2)] == ["npy", "tif"]
