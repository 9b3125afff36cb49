import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.conftest import RealData
from wgan.errors import ImageError
from wgan.training.data.decode import PIXEL_LIMIT, decode, is_image_name


@pytest.mark.parametrize("name", ["a.png", "deep/down/b.JPEG", "c.webp", "with space.tif"])
def test_files_with_a_images_ending_are_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.png", ".git/a.png", "__MACOSX/a.png", "labels.csv", "png", "a.heic"]
)
def test_hidden_files_and_other_endings_are_not_images(name: str) -> None:
    assert not is_image_name(name)


def test_a_image_is_turned_upright_as_its_exif_data_says(real_data: RealData) -> None:
    folder = real_data("odd-images")
    upright = np.asarray(decode(folder / "hopper.jpg")).astype(int)
    turned = np.asarray(decode(folder / "hopper_orientation_6.jpg")).astype(int)
    lying = np.asarray(Image.open(folder / "hopper_orientation_6.jpg")).astype(int)
    assert np.abs(turned - upright).mean() < 5 < np.abs(lying - upright).mean()


def test_an_animation_gives_its_first_frame(real_data: RealData) -> None:
    path = real_data("odd-images") / "dispose_none.gif"
    with Image.open(path) as animation:
        assert getattr(animation, "n_frames", 1) > 1
        first = np.asarray(animation.convert("RGB"))
    assert np.array_equal(np.asarray(decode(path).convert("RGB")), first)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken.png", "not an image"),
        ("broken_data_stream.png", "data stream"),
        ("lfs_pointer_celeba_161979.jpg", "not an image"),
        ("truncated_jpeg.jpg", "truncated"),
        ("decompression_bomb.gif", f"more than {PIXEL_LIMIT} pixels"),
    ],
)
def test_a_damaged_image_is_refused_with_its_reason(
    name: str, reason: str, real_data: RealData
) -> None:
    path = real_data("odd-images") / name
    start = time.perf_counter()
    with pytest.raises(ImageError, match=reason):
        decode(path)
    assert time.perf_counter() - start < 2


def test_a_bomb_that_pillow_would_let_through_is_refused_from_its_header(tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(ImageError, match="9000x9000"):
        decode(tmp_path / "bomb.png")


def test_a_reader_that_starts_programs_is_never_chosen() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="EPS")
    with pytest.raises(ImageError, match="not an image"):
        decode(io.BytesIO(buffer.getvalue()))


def test_a_file_that_is_gone_is_named_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="gone"):
        decode(tmp_path / "a.png")
