import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.conftest import RealData, save_image
from wgan.errors import DataError
from wgan.training.data import load_images, open_source
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.data.transform import Transform

USED = ["dispose_none.gif", "hopper.jpg", "hopper.tif", "hopper.webp",
        "hopper_orientation_6.jpg", "i_trns.png",
        "pil_sample_cmyk.jpg", "tRNS_null_1x1.png", "uncompressed_la.png"]  # fmt: skip
SKIPPED = ["broken.png", "broken_data_stream.png", "decompression_bomb.gif",
           "lfs_pointer_celeba_161979.jpg", "truncated_jpeg.jpg"]  # fmt: skip
LEFT_OUT = [".DS_Store", "LICENSE.pillow", "train-images-idx3-ubyte.truncated.gz"]


def test_images_come_in_the_order_of_the_source(good: Path) -> None:
    source = open_source(good)
    images = load_images(source, size=32, channels=3)
    one_by_one = [Transform(size=32, channels=3)(source.image(k, 32)) for k in range(12)]
    assert images.pixels.dtype == np.uint8
    assert images.pixels.flags.c_contiguous
    assert np.array_equal(images.pixels, np.stack(one_by_one))
    assert images.skipped == []


def test_the_hash_names_the_pixels() -> None:
    grey, again, colour, fewer = (
        load_images(GlyphSource(count), size=32, channels=channels).sha256
        for count, channels in ((30, 1), (30, 1), (30, 3), (29, 1))
    )
    assert grey == again
    assert len({grey, colour, fewer}) == 3


def test_progress_is_told_up_to_the_last_image() -> None:
    told: list[tuple[int, int]] = []
    load_images(GlyphSource(100), size=32, channels=1, progress=lambda *done: told.append(done))
    assert told == sorted(told)
    assert told[-1] == (100, 100)


@pytest.mark.parametrize("name", USED)
def test_an_odd_image_that_is_good_is_used_alone_and_among_others(
    name: str, tmp_path: Path, real_data: RealData
) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    alone = load_images(open_source(tmp_path), size=32, channels=3)
    assert len(alone.pixels) == 1
    save_image(tmp_path / "0.png")
    among = load_images(open_source(tmp_path), size=32, channels=3)
    assert np.array_equal(among.pixels[1:], alone.pixels)
    assert among.skipped == []


@pytest.mark.parametrize("name", SKIPPED)
def test_a_damaged_image_stops_alone_and_is_skipped_and_named_among_others(
    name: str, tmp_path: Path, real_data: RealData
) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    with pytest.raises(DataError, match=rf"none can be used: 1 of 1 .*{name}"):
        load_images(open_source(tmp_path), size=32, channels=3, allow_damaged=True)
    for seed in range(99):
        save_image(tmp_path / f"{seed:02}.png", seed)
    images = load_images(open_source(tmp_path), size=32, channels=3)
    assert len(images.pixels) == 99
    ((label, reason),) = images.skipped
    assert label == str(tmp_path / name)
    assert reason


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_no_image_is_left_out_alone_and_among_others(
    name: str, tmp_path: Path, real_data: RealData
) -> None:
    shutil.copy(real_data("odd-images") / name, tmp_path)
    with pytest.raises(DataError, match="no images"):
        open_source(tmp_path)
    save_image(tmp_path / "0.png")
    assert open_source(tmp_path).left_out == 1


def test_more_than_one_in_a_hundred_damaged_stops_unless_it_is_allowed(tmp_path: Path) -> None:
    for seed in range(198):
        save_image(tmp_path / f"{seed:03}.png", seed)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    assert len(load_images(open_source(tmp_path), size=32, channels=3).skipped) == 2
    (tmp_path / "050.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"3 of 200 images are damaged; the first is .*050\.png"):
        load_images(open_source(tmp_path), size=32, channels=3)
    allowed = load_images(open_source(tmp_path), size=32, channels=3, allow_damaged=True)
    assert (len(allowed.pixels), len(allowed.skipped)) == (197, 3)


def test_flipped_bits_give_a_image_or_a_reason_and_nothing_else(
    tmp_path: Path, real_data: RealData
) -> None:
    random = np.random.RandomState(0)
    for name in [*USED, *SKIPPED]:
        data = (real_data("odd-images") / name).read_bytes()
        for trial in range(40):
            damaged = bytearray(data)
            for place in random.randint(0, min(len(data), 600), 1 + trial % 4):
                damaged[place] ^= 1 << random.randint(8)
            (tmp_path / f"{trial:02}-{name}").write_bytes(damaged)
    images = load_images(open_source(tmp_path), size=32, channels=3, allow_damaged=True)
    assert len(images.pixels) + len(images.skipped) == 40 * 14
    assert min(len(images.pixels), len(images.skipped)) > 100
    assert all(reason for _, reason in images.skipped)
