import os
from pathlib import Path

import pytest
from PIL import Image

from tests.training.data.conftest import save_image
from wgan.errors import DataError, ImageError
from wgan.training.data.sources.folder import FolderSource


def test_images_are_found_at_any_depth_in_the_order_of_their_paths(good: Path) -> None:
    source = FolderSource(good)
    labels = [source.label(index) for index in range(len(source))]
    assert len(labels) == 12
    assert labels == sorted(labels)
    assert source.name == "good"


def test_what_is_no_image_is_left_out_and_counted(good: Path) -> None:
    for name in (".DS_Store", "0/._00.png", "__MACOSX/a.png", "labels.csv"):
        (good / name).parent.mkdir(exist_ok=True)
        (good / name).write_bytes(b"x")
    source = FolderSource(good)
    assert (len(source), source.left_out) == (12, 4)


def test_a_hidden_folder_may_be_named_itself(tmp_path: Path) -> None:
    save_image(tmp_path / ".hidden" / "a.png")
    assert len(FolderSource(tmp_path / ".hidden")) == 1


def test_a_link_to_a_folder_is_followed_and_a_circle_ends(good: Path, tmp_path: Path) -> None:
    save_image(tmp_path / "elsewhere" / "a.png")
    (good / "link").symlink_to(tmp_path / "elsewhere")
    (good / "circle").symlink_to(good)
    assert len(FolderSource(good)) == 13


@pytest.mark.parametrize("others", [[], ["notes.txt"]])
def test_a_folder_without_images_is_an_error_that_says_what_is_read(
    tmp_path: Path, others: list[str]
) -> None:
    for name in others:
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match=r"no images in the folder .*\.png"):
        FolderSource(tmp_path)


def test_grey_images_suit_one_channel_and_coloured_ones_three(good: Path) -> None:
    assert FolderSource(good).channels == 3
    for index, mode in enumerate(("L", "1", "LA", "I;16")):
        Image.new(mode, (8, 8)).save(good.parent / f"{index}.png")
    grey = good.parent / "grey"
    grey.mkdir()
    for path in good.parent.glob("*.png"):
        path.rename(grey / path.name)
    assert FolderSource(grey).channels == 1


def test_damaged_images_have_no_say_in_the_channels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert FolderSource(tmp_path).channels == 3
    Image.new("L", (8, 8)).save(tmp_path / "b.png")
    assert FolderSource(tmp_path).channels == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_among_the_images_is_passed_over_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    save_image(tmp_path / "b.png")
    source = FolderSource(tmp_path)
    assert source.channels == 3
    with pytest.raises(ImageError, match="no ordinary file"):
        source.encoded(0)
