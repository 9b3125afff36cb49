import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.conftest import RealData, save_image
from wgan.errors import DataError
from wgan.training.data import Transform, load_images, open_source


def test_the_built_in_data_needs_no_file() -> None:
    assert open_source("glyphs").name == "glyphs"


def test_a_path_may_be_a_string_or_a_path(good: Path) -> None:
    assert len(open_source(good)) == len(open_source(str(good))) == 12


def test_a_folder_is_named_by_its_last_part(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good)
    assert open_source(".").name == "good"


def test_real_data_of_each_kind_is_recognised(real_data: RealData) -> None:
    fashion = open_source(real_data("fashion-mnist"))
    assert (fashion.name, len(fashion), fashion.channels) == ("fashion-mnist", 60_000, 1)
    tests = open_source(real_data("fashion-mnist") / "t10k-images-idx3-ubyte.gz")
    assert (tests.name, len(tests)) == ("t10k", 10_000)
    emoji = open_source(real_data("emoji") / "emoji-png-128.tar")
    assert (emoji.name, len(emoji), emoji.channels) == ("emoji-png-128", 3583, 3)
    odd = open_source(real_data("odd-images"))
    assert (len(odd), odd.left_out) == (14, 3)  # .DS_Store, the licence, the idx file


def test_an_archive_is_recognised_by_its_extension(good: Path) -> None:
    path = shutil.make_archive(str(good), "zip", good)
    assert len(open_source(path)) == 12


@pytest.mark.parametrize("data", ["no/such/folder", "fashion_mnist"])
def test_missing_data_is_an_error_that_lists_the_names(data: str) -> None:
    with pytest.raises(DataError, match="fashion-mnist"):
        open_source(data)


def test_a_single_image_is_an_error_that_suggests_its_folder(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="folder that contains many"):
        open_source(tmp_path / "a.png")


def test_a_file_of_another_format_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(DataError, match=r"an archive .*\.parquet"):
        open_source(tmp_path / "a.doc")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("faces.mat", "scipy.io.loadmat"),
        ("faces.pkl", r"would run their code; save images as \.npy"),
        ("data_batch_1", "train on the name cifar10"),
        ("train_X.bin", "np.fromfile"),
        ("faces.rar", "unpack it"),
        ("faces.mp4", "save their frames"),
        ("faces.pdf", "convert"),
    ],
)
def test_files_that_are_not_read_are_errors_that_say_what_to_do(
    tmp_path: Path, name: str, advice: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=advice):
        open_source(tmp_path / name)
    with pytest.raises(DataError, match=advice if name != "faces.rar" else "unpack them"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("train.npy.gz", "a compressed file .* decompress it, and give the file"),
        ("train.npy.tar.zst", "an archive .* unpack it, and give the folder"),
    ],
)
def test_a_compressed_file_is_no_archive(tmp_path: Path, name: str, advice: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=advice):
        open_source(tmp_path / name)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_in_an_archive_are_an_error_that_says_to_unpack_them(
    tmp_path: Path, ending: str
) -> None:
    (tmp_path / "raw").mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (tmp_path / "raw" / (name + ending)).write_bytes(b"x")
    path = shutil.make_archive(str(tmp_path / "mnist"), "zip", tmp_path / "raw")
    with pytest.raises(DataError, match=r"has 2 idx files: unpack them, and give their folder$"):
        open_source(path)


def test_a_tsv_in_a_folder_is_the_data_only_if_it_is_the_only_file(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("\n".join(["\t".join(["7"] * 64)] * 5))
    assert len(open_source(tmp_path)) == 5
    (tmp_path / "b.jxl").write_bytes(b"x")
    expected = r"1 \.tsv: give such a file by its name; 1 \.jxl: a format that is not read"
    with pytest.raises(DataError, match=expected):
        open_source(tmp_path)
    np.savez(tmp_path / "train.npz", images=np.zeros((6, 8, 8), np.uint8))
    assert len(open_source(tmp_path)) == 6
    assert len(open_source(tmp_path / "a.tsv")) == 5


@pytest.mark.parametrize(
    "name", ["a.npy", "a.tar", "a.zip", "a.h5", "a.parquet", "images-idx3-ubyte"]
)
def test_a_pointer_of_git_lfs_is_an_error_that_says_to_pull(tmp_path: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"
    (tmp_path / name).write_text(pointer)
    with pytest.raises(DataError, match="git lfs pull"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "train-0.parquet", "a.png"])
def test_pointers_of_git_lfs_in_a_folder_say_to_pull(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        load_images(open_source(tmp_path), Transform(size=32, channels=3))


def test_a_name_that_is_a_folder_too_is_warned_about(
    good: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(good.parent)
    good.rename("glyphs")
    assert len(open_source("glyphs")) != 12
    assert "write ./glyphs" in caplog.text
    assert len(open_source("./glyphs")) == 12
