import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.training.data.conftest import save_image
from wgan.errors import DataError, UsageError
from wgan.training.data import Transform, open_source
from wgan.training.data.shards import Shards
from wgan.training.data.sources.labelled import with_class
from wgan.training.data.survey import EXAMINED, find_data_range, resolve_data_range, survey

COLOUR = Transform(size=32, channels=3)
GREY = Transform(size=32, channels=1)


def rows(path: Path, transform: Transform = COLOUR, frames: str = "first") -> Mapping[str, str]:
    return survey(open_source(path, frames=frames), transform).rows()


def save(path: Path, values: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def test_images_are_counted_by_format_and_size(good: Path) -> None:
    assert rows(good) == {
        "found": "12 images: 4 .bmp, 4 .png, 4 .webp; 36x40",
        "cropped": "9% of each image on average; see --fit and --size HEIGHTxWIDTH",
    }


def test_images_without_a_class_are_not_counted_by_format(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.bmp"):
        save_image(tmp_path / name)
    labels = [["a.png", 0], ["b.png", 1], ["c.bmp", None]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = survey(with_class(open_source(tmp_path)), COLOUR)
    assert (found.count, found.formats) == (2, {".png": 2})


def test_frames_are_counted_by_the_format_of_their_file(tmp_path: Path) -> None:
    pages = [Image.new("L", (32, 32), level) for level in range(5)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    save_image(tmp_path / "a.png")
    assert rows(tmp_path, frames="all")["found"].startswith("6 images: 5 .tif, 1 .png")


def test_splits_that_are_all_used_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("train/cat/1", "train/dog/1", "val/cat/1", "test/dog/1"):
        (folder / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(folder / "data" / f"{name}.png")
    source = open_source(folder)
    assert source.class_names == ("cat", "dog")
    assert survey(with_class(source), COLOUR).rows()["splits"] == (
        f"test, train and val are all used; for one of them give {folder}/data/train"
    )
    assert open_source(folder, frames="all").splits == source.splits
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    assert rows(Path(archive))["splits"] == (
        "test, train and val are all used; for one of them unpack it, and give its data/train"
    )
    assert "splits" not in rows(folder / "data" / "train")
    (folder / "data" / "train").rename(folder / "data" / "birds")  # a class, not a split
    assert "splits" not in rows(folder)


def test_files_that_are_left_out_are_told(good: Path) -> None:
    (good / "a.psd").write_bytes(b"x")
    (good / "notes.txt").write_bytes(b"x")
    assert rows(good)["left out"] == (
        "1 .psd: a format that is not read; convert them, as to PNG; other files: 1 .txt"
    )


def test_what_cropping_removes_is_told(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((90, 160, 3), 7, np.uint8))
    assert (
        rows(tmp_path)["cropped"]
        == "43% of each image on average; see --fit and --size HEIGHTxWIDTH"
    )
    assert "cropped" not in rows(tmp_path, Transform(size="36x64", channels=3))
    assert "cropped" not in rows(tmp_path, Transform(size=32, channels=3, fit="pad"))


def test_unused_pages_are_told_and_too_few_images_name_the_option(tmp_path: Path) -> None:
    pages = [Image.new("L", (40, 40), level) for level in range(80)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    assert rows(tmp_path)["left out"] == "79 of 80 frames and pages: --frames all"
    found = survey(open_source(tmp_path), GREY)
    with pytest.raises(DataError, match=r"1 images .*batch of 64.*79 of 80.*--frames all"):
        found.check_frames(64)
    found.check_frames(1)
    assert "left out" not in rows(tmp_path, frames="all")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (50, 150, "16-bit values are 50 to 150, which use 0.2% of 16 bits: give --range 50,150"),
        (10, 240, "16-bit values are 10 to 240, which use 0.4% of 16 bits: give --range 0,255,"),
        (300, 3340, "16-bit values are 300 to 3340, which use 4.6% of 16 bits: give --range 300,"),
        (0, 60000, None),
    ],
)
def test_a_narrow_range_of_16_bits_is_told(
    tmp_path: Path, low: int, high: int, expected: str | None
) -> None:
    values = np.linspace(low, high, 40 * 40).reshape(40, 40).astype(np.uint16)
    save(tmp_path / "a.tif", values)
    found = rows(tmp_path, GREY).get("range")
    assert found is None if expected is None else found is not None and expected in found


def test_floating_point_values_need_a_range(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", np.linspace(100, 1000, 1600).reshape(40, 40).astype(np.float32))
    expected = "float32 values are 100 to 1000: give --range 100,1000, or --range auto"
    assert rows(tmp_path, GREY)["range"] == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(2000, dtype=np.int32), "int32 values are 0 to 1999: give --range 0,1999"),
        (np.arange(2000, dtype=np.int32) * 20, "int32 values are 0 to 39980: give --range 0,39980"),
        (np.zeros(2000, np.float32), "all float32 values are 0"),
    ],
)
def test_arrays_of_other_types_are_reported(
    tmp_path: Path, values: npt.NDArray[Any], expected: str
) -> None:
    np.save(tmp_path / "a.npy", values.reshape(5, 20, 20))
    assert rows(tmp_path / "a.npy", GREY)["range"].startswith(expected)


def test_a_mask_of_0_and_1_in_8_bits_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.RandomState(0).randint(0, 2, (5, 40, 40), np.uint8))
    assert "--range 0,1" in rows(tmp_path / "a.npy", GREY)["range"]


def test_boolean_arrays_need_no_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6 * 400).reshape(6, 20, 20) % 3 == 0)
    assert "range" not in rows(tmp_path / "a.npy", Transform(size=20, channels=1))


def test_values_outside_the_given_range_are_told(tmp_path: Path) -> None:
    values = np.repeat(np.array([[0], [10], [20], [99]], np.uint16), 40, axis=1).repeat(10, axis=0)
    save(tmp_path / "a.tif", values)
    found = rows(tmp_path, Transform(size=32, channels=1, data_range=(0, 20)))["range"]
    assert found == "16-bit values are 0 to 99; 0 is black, 20 white, and 25.0% lie outside"


def test_types_to_which_one_range_leaves_no_contrast_are_told(tmp_path: Path) -> None:
    values = np.arange(200, dtype=np.uint8).reshape(10, 20).repeat(4, axis=0)
    save(tmp_path / "8.tif", values)
    save(tmp_path / "16.tif", values.astype(np.uint16) * 257)
    low, high = find_data_range(open_source(tmp_path))
    told = rows(tmp_path, Transform(size=32, channels=1, data_range=(low, high)))["range"]
    narrow = next(part for part in told.split("; ") if "scale them" in part)
    assert told.count("hardly any contrast: scale them like the others") == 1
    assert "8-bit values are 0 to 199; " + narrow in told


def test_values_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    values = np.full((4, 40, 40), 5, np.float32)
    values[:, :10] = np.nan
    np.save(tmp_path / "a.npy", values)
    told = rows(tmp_path / "a.npy", Transform(size=32, channels=1, data_range=(0, 10)))["range"]
    assert "25.0% of the values are NaN, no data, and become black" in told
    assert "outside" not in told


def test_transparent_and_grey_images_are_told(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    save(tmp_path / "b.png", np.full((40, 36, 4), 100, np.uint8))
    save(tmp_path / "c.png", np.full((40, 36), 100, np.uint8))
    assert rows(tmp_path)["colours"] == (
        "1 of 3 are grey among images in colour; 1 of 3 are transparent, composited over"
        " --background: --channels 4 keeps alpha"
    )
    assert "2 of 3 are in colour and become grey" in rows(tmp_path, GREY)["colours"]


def test_an_opaque_alpha_channel_is_not_told(tmp_path: Path) -> None:
    save(tmp_path / "b.png", np.full((40, 40, 4), 255, np.uint8))
    assert "colours" not in rows(tmp_path)


def test_four_bands_without_alpha_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.RandomState(0).randint(0, 255, (5, 40, 40, 4), np.uint8))
    assert "4 bands, none of them alpha" in rows(tmp_path / "a.npy")["colours"]


def test_small_images_are_told(good: Path) -> None:
    expected = "all, smaller than the result"
    assert rows(good, Transform(size=64, channels=3))["enlarged"] == expected


def test_of_many_images_some_are_examined(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((EXAMINED + 50, 32, 32), np.uint8))
    found = survey(open_source(tmp_path / "a.npy"), GREY)
    assert (found.count, found.examined) == (EXAMINED + 50, EXAMINED)
    assert found.rows()["found"] == "250 images; 32x32 (200 examined)"


def test_damaged_images_are_not_examined(good: Path) -> None:
    (good / "x.png").write_bytes(b"x")
    assert survey(open_source(good), COLOUR).examined == 12


def test_a_survey_of_files_that_stay_as_they_are(good: Path) -> None:
    assert set(survey(open_source(good), None).rows()) == {"found"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_auto_is_the_range_of_the_data(tmp_path: Path, dtype: npt.DTypeLike) -> None:
    values = np.random.RandomState(0).randint(10, 90, (5, 40, 40)).astype(dtype)
    values[2, 3, 4], values[4, 0, 0] = 7, 101
    np.save(tmp_path / "a.npy", values)
    source = open_source(tmp_path / "a.npy")
    assert find_data_range(source) == (7, 101)
    assert resolve_data_range("auto", source) == "7,101"
    assert resolve_data_range("1,2", source) == "1,2"


def test_auto_ignores_what_is_not_finite(tmp_path: Path) -> None:
    values = np.full((2, 40, 40), np.nan)
    values[0, 0, :2] = -3.5, 4.25
    np.save(tmp_path / "a.npy", values)
    assert resolve_data_range("auto", open_source(tmp_path / "a.npy")) == "-3.5,4.25"


def test_auto_of_equal_values_or_shards_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((2, 40, 40), 7))
    with pytest.raises(DataError, match="all values of a are 7"):
        resolve_data_range("auto", open_source(tmp_path / "a.npy"))
    with pytest.raises(UsageError, match="shards"):
        resolve_data_range("auto", Shards("a", [], None))


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (np.linspace(0.06, 0.93, 1024), "give --range 0,1,"),
        (np.linspace(-0.9, 0.99, 1024), "give --range -1,1,"),
        (np.arange(17, 237), "give --range 0,255,"),
        (np.resize(np.arange(2, dtype=np.uint8), 1024), "give --range 0,1,"),
        (np.linspace(0.2, 0.3, 1024), "give --range 0.2"),
    ],
)
def test_a_usual_range_is_advised_where_the_values_fill_it(
    tmp_path: Path, values: npt.NDArray[Any], advice: str
) -> None:
    np.save(tmp_path / "a.npy", np.resize(values, (4, 16, 16)))
    found = survey(open_source(tmp_path / "a.npy"), Transform(size=16, channels=1))
    assert advice in found.rows()["range"]


def test_values_that_are_all_the_same_are_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 16, 16), np.uint8))
    found = survey(open_source(tmp_path / "a.npy"), Transform(size=16, channels=1))
    assert found.rows()["range"] == "all 8-bit values are 0"
