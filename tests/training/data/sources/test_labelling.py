import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.conftest import save_image
from wgan.errors import DataError
from wgan.training.data import open_source
from wgan.training.data.classes import class_names
from wgan.training.data.sources.glyphs import CHARACTERS, GlyphSource
from wgan.training.data.sources.image_files import FolderSource
from wgan.training.data.sources.labelling import (
    classes_of_column,
    classes_of_files,
    classes_of_folders,
    classes_of_json,
    is_label_file,
)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["cat/1.png", "dog/1.png", "cat/2.png"], ("cat", "dog")),
        (["flowers/rose/1.png", "flowers/tulip/2.png"], ("rose", "tulip")),
        (["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"], ("cat", "dog")),
        (["cat/persian/1.png", "dog/2.png"], ("cat", "dog")),
        (["1.png", "cat/1.png", "dog/1.png"], ()),
        (["cat/1.png", "cat/2.png"], ()),
        (["train/1.png", "test/2.png"], ()),
        (["flowers/1.png", "flowers/rose/2.png", "flowers/tulip/3.png"], ()),
        (["cat/1.png", "other/a/1.png", "dog/images/1.png"], ("cat", "dog", "other")),
        (["seg_train/seg_train/cat/1.png", "seg_test/seg_test/dog/1.png"], ("cat", "dog")),
        (["training_set/training_set/cat/1.png", "test_set/test_set/dog/1.png"], ("cat", "dog")),
        (["Training/cat/1.png", "evaluation/dog/1.png", "validation/cat/2.png"], ("cat", "dog")),
        (["train/n1/images/a.png", "train/n2/images/b.png"], ("n1", "n2")),
        (["train/1.png", "test1/2.png"], ()),
        (["train2017/1.png", "val2017/2.png", "test-dev2017/3.png"], ()),
        (["train/1.png", "unlabeled/2.png", "extra/3.png"], ()),
        (["train/a/1.png", "train/b/2.png", "holdout/a/3.png"], ("a", "b")),
        (["Training/a/1.png", "PublicTest/b/2.png", "PrivateTest/b/2.png"], ("a", "b")),
        (["trainval/a/1.png", "test/b/2.png"], ("a", "b")),
        (["tested/1.png", "trainer/2.png"], ("tested", "trainer")),
        (["train/n1/images/a.png", "train/n2/images/b.png", "val/images/c.png"], ()),
        (["images/1.png", "drawings/2.png"], ("drawings", "images")),
        ([], ()),
    ],
)
def test_subfolders_are_classes_if_every_image_lies_in_one(
    paths: list[str], names: tuple[str, ...]
) -> None:
    classes = classes_of_folders(paths)
    assert classes.names == names
    assert (classes.labels is not None) == bool(names)


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["cat/1.png", "dog/1.png", "logo.png"], "1 of 3 images lie in no .* as logo.png"),
        (["train/cat/1.png", "train/dog/2.png", "test/3.png"], "1 of 3 .* as test/3.png"),
        (["1.png", "2.png"], ""),
        (["cat/1.png", "2.png"], ""),
    ],
)
def test_images_beside_the_folders_of_classes_are_named(paths: list[str], reason: str) -> None:
    classes = classes_of_folders(paths)
    assert classes.labels is None
    assert re.search(reason, classes.reason)
    assert bool(classes.reason) == bool(reason)


def test_two_images_for_each_class_are_enough() -> None:
    column = [k % 26 for k in range(50)]
    assert classes_of_column(column).names == tuple(map(str, range(26)))
    reason = classes_of_column(list(range(50))).reason
    assert reason == "the labels have 50 values for 50 images, which are too many for classes"


def test_labels_are_in_the_order_of_the_images(tmp_path: Path) -> None:
    for kind in ("b", "a"):
        for number in range(2):
            save_image(tmp_path / kind / f"{number}.png")
    source = FolderSource(tmp_path)
    assert source.labels is not None
    assert [source.class_names[label] for label in source.labels] == ["a", "a", "b", "b"]
    assert Path(source.image_name(2)).parent.name == "b"


@pytest.mark.parametrize(
    ("column", "names", "labels"),
    [
        ([0, 1, 0], ("0", "1"), [0, 1, 0]),
        ([[7], [3], [7], [3]], ("3", "7"), [1, 0, 1, 0]),
        ([1.0, 2.0, 1.0], ("1", "2"), [0, 1, 0]),
        (["b", "a"] * 2, ("a", "b"), [1, 0, 1, 0]),
        ([b"b", b"a"] * 2, ("a", "b"), [1, 0, 1, 0]),
        ([[[[1]]], [[[0]]]], ("0", "1"), [1, 0]),
        ([[0.0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 0, 1]], ("0", "2"), [1, 0, 0, 1]),
    ],
)
def test_a_column_of_values_is_one_of_classes(
    column: list[object], names: tuple[str, ...], labels: list[int]
) -> None:
    classes = classes_of_column(np.array(column))
    assert classes.names == names
    assert classes.labels is not None
    assert classes.labels.dtype == np.int64
    assert classes.labels.tolist() == labels


@pytest.mark.parametrize(
    "column", [[], [0, 0], [0.5, 1.5], [-1, 0, 1, 0], list(range(10)), [[1, 1], [1, 0]]]
)
def test_other_columns_have_no_classes(column: list[object]) -> None:
    assert classes_of_column(np.array(column)).labels is None


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ([None, None], "the labels are all missing"),
        ([0, None, 0], "the labels are all 0"),
        ([0, -1, 1], "the labels are negative, as -1, for 1 of 3 images"),
        ([0.5, 1.0], "the labels are not whole numbers"),
        ([0.0, 1e19], "the labels are too large for whole numbers, as 1e+19"),
        (["a", "a"], "the labels are all a"),
        (range(10), "the labels have 10 values for 10 images, which are too many for classes"),
        ([[1, 1], [0, 1]], "the labels have several values for an image"),
        ([[1], [0, 1]], "the labels have several values for an image"),
        (
            np.array([np.zeros(1), np.ones(2)], object),  # as h5py reads lists of any length
            "the labels have several values for an image",
        ),
    ],
)
def test_labels_that_are_no_classes_have_a_reason(column: Any, reason: str) -> None:
    classes = classes_of_column(column)
    assert (classes.labels, classes.names, classes.reason) == (None, (), reason)


@pytest.mark.parametrize(
    "column",
    [
        *([0, None, 3], [0, float("nan"), 3], ["0", "", "3"], [b"0", b"", b"3"], ["0", None, "3"]),
        np.array(["0", float("nan"), "3"], object),
    ],
)
def test_an_image_whose_label_is_missing_has_no_class(column: list[object]) -> None:
    classes = classes_of_column(np.array(column))
    assert classes.labels is not None
    assert (classes.names, classes.labels.tolist()) == (("0", "3"), [0, -1, 1])


@pytest.mark.parametrize("small", [0, None])
def test_labels_of_64_bits_are_not_rounded(small: Any) -> None:
    classes = classes_of_column([2**63 + 1, small, 2**63 + 2, 2**63 + 1])
    assert classes.labels is not None
    assert classes.names[-2:] == (f"{2**63 + 1}", f"{2**63 + 2}")
    assert classes.labels.tolist() == ([1, 0, 2, 1] if small == 0 else [0, -1, 1, 0])


def test_minus_one_is_no_class_where_the_classes_have_names() -> None:
    classes = classes_of_column([1, -1, 0], ["cat", "dog"])
    assert classes.labels is not None
    assert (classes.names, classes.labels.tolist()) == (("cat", "dog"), [1, -1, 0])
    assert classes_of_column([-1, -1], ["cat", "dog"]).reason == "the labels are all missing"


def test_labels_beyond_the_names_are_no_classes_and_named() -> None:
    classes = classes_of_column([0, 1, 5, -1], ["cat", "dog"])
    assert (classes.labels, classes.names) == (None, ())
    assert classes.reason == (
        "the labels are beyond the 2 names of classes, as 5, for 1 of 3 images: correct them, or"
        " add names"
    )


def test_classes_that_no_image_has_keep_their_names() -> None:
    classes = classes_of_column([2, 0], ["cat", "dog", "owl"])
    assert classes.labels is not None
    assert (classes.names, classes.labels.tolist()) == (("cat", "dog", "owl"), [2, 0])


@pytest.mark.parametrize("is_zip", [True, False])
def test_dataset_json_of_stylegan2_ada(tmp_path: Path, is_zip: bool) -> None:
    names = [f"0000{k % 2}/img{k:08}.png" for k in range(6)]
    for name in names:
        save_image(tmp_path / "set" / name)
    labels = [[name, 3 * (k // 3)] for k, name in enumerate(names)]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))
    path = tmp_path / "set"
    if is_zip:
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in [*names, "dataset.json"]:
                archive.write(tmp_path / "set" / name, name)
    source = open_source(path)
    assert source.class_names == ("0", "3")
    expected = {name: label // 3 for name, label in labels if isinstance(label, int)}
    assert source.labels is not None
    for index, label in enumerate(source.labels):
        assert expected[source.image_name(index)[-len(names[0]) :]] == label


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "lists no labels"),
        (b"[]", "lists no labels"),
        (b"{}", "lists no labels"),
        (b'{"labels": null}', "lists no labels"),
        (b'{"labels": [["b.png", 1]]}', "lacks 1 image, as a.png"),
        (b'{"labels": [["a.png", [1, 1]]]}', "one-hot"),
        (b'{"labels": [["a.png", 1]]}', "the labels are all 1"),
    ],
)
def test_another_dataset_json_has_no_labels_and_says_why(text: bytes, reason: str) -> None:
    classes = classes_of_json(text, ["a.png"])
    assert classes.labels is None
    assert "dataset.json gives none" in classes.reason
    assert reason in classes.reason


def test_a_dataset_json_of_another_program_does_not_hide_the_folders(tmp_path: Path) -> None:
    for kind in ("b", "a"):
        for number in range(2):
            save_image(tmp_path / kind / f"{number}.png")
    (tmp_path / "dataset.json").write_text('{"licence": "CC0", "images": 4}')
    assert FolderSource(tmp_path).class_names == ("a", "b")


def test_a_one_hot_label_is_the_index_of_its_1() -> None:
    labels = [["a.png", [0, 0, 1]], ["b.png", [1, 0, 0]], ["c.png", [0, 0, 1]]]
    text = json.dumps({"labels": labels}).encode()
    classes = classes_of_json(text, ["a.png", "b.png", "c.png"])
    assert classes.labels is not None
    assert (classes.names, classes.labels.tolist()) == (("0", "2"), [1, 0, 1])


def test_a_null_in_a_dataset_json_is_a_missing_label() -> None:
    labels = [["a.png", 3], ["b.png", None], ["c.png", 0]]
    classes = classes_of_json(json.dumps({"labels": labels}).encode(), ["a.png", "b.png", "c.png"])
    assert classes.labels is not None
    assert (classes.names, classes.labels.tolist()) == (("0", "3"), [1, -1, 0])


def _pack(folder: Path, ending: str, outer: str) -> Path:
    """Pack `folder` below the folder `outer` of an archive; `"."` as tar writes it."""
    path = folder.with_name(f"packed.{ending}")
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, f"{outer}/{file.relative_to(folder).as_posix()}")
    else:
        with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w:") as tar:
            tar.add(folder, outer)
    return path


@pytest.mark.parametrize(
    ("ending", "outer"), [("tar", "."), ("tar.gz", "."), ("tar.gz", "sg"), ("zip", "sg")]
)
def test_dataset_json_is_found_below_an_outer_folder(
    tmp_path: Path, ending: str, outer: str
) -> None:
    names = [f"0000{k % 2}/img{k:08}.png" for k in range(6)]
    for seed, name in enumerate(names):
        save_image(tmp_path / "set" / name, seed)
    labels = [[name, 3 * (k // 3)] for k, name in enumerate(names)]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps({"labels": labels}))
    source = open_source(_pack(tmp_path / "set", ending, outer))
    assert source.class_names == ("0", "3")
    assert source.labels is not None
    for index, label in enumerate(source.labels):
        assert [source.image_name(index)[-len(names[0]) :], 3 * label] in labels


def test_folders_beside_a_dataset_json_without_labels_are_no_classes(tmp_path: Path) -> None:
    for name in ("00000/a.png", "00001/b.png"):
        save_image(tmp_path / "set" / name)
    (tmp_path / "set" / "dataset.json").write_text('{"labels": null}')
    with pytest.raises(DataError, match=r"no classes: dataset\.json gives none: it lists"):
        class_names(open_source(tmp_path / "set"))


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_cls_files_of_a_tar_are_its_classes(tmp_path: Path, ending: str) -> None:
    for number in range(6):
        save_image(tmp_path / "set" / f"{number:03}.seg.png", number)
        (tmp_path / "set" / f"{number:03}.cls").write_text(str(number % 3 + 5))
    source = open_source(_pack(tmp_path / "set", ending, "."))
    assert source.class_names == ("5", "6", "7")
    assert source.labels is not None
    for index, label in enumerate(source.labels):
        assert int(source.image_name(index).rpartition(" ")[2][:3]) % 3 == label


def test_names_with_dots_have_cls_files_of_their_own(tmp_path: Path) -> None:
    for video in ("video1", "video2"):
        for frame in range(3):
            save_image(tmp_path / f"{video}.00{frame}.png", frame)
            (tmp_path / f"{video}.00{frame}.cls").write_text(str(frame % 2))
    labels = open_source(tmp_path).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 0] * 2


@pytest.mark.parametrize("missing", ["-1", ""])
def test_a_cls_file_may_hold_no_class(tmp_path: Path, missing: str) -> None:
    for number, label in enumerate(["2", missing, "10", "2"]):
        save_image(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.cls").write_text(label)
    source = open_source(tmp_path)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("2", "10"), [0, -1, 1, 0])


def test_a_cls_file_belongs_to_its_sample_by_the_first_dot(tmp_path: Path) -> None:
    for number in range(4):
        save_image(tmp_path / f"{number}.png", number)
        (tmp_path / f"{number}.y.cls").write_text(str(number % 2))
    labels = open_source(tmp_path).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 0, 1]


def test_an_image_without_a_cls_file_is_named(tmp_path: Path) -> None:
    for number in range(3):
        save_image(tmp_path / f"{number}.png")
    (tmp_path / "0.cls").write_text("0")
    with pytest.raises(DataError, match=r"no classes: 2 images have no \.cls, as 1\.png"):
        class_names(open_source(tmp_path))


def test_characters_are_the_classes_of_glyphs() -> None:
    source = GlyphSource(200)
    assert source.class_names == tuple(CHARACTERS)
    assert [source.class_names[label] for label in source.labels] == [
        source.character(index) for index in range(200)
    ]


def test_extensions_of_labels_may_be_in_upper_case() -> None:
    texts = {"1.CLS": b"3", "2.CLS": b"5"}
    classes = classes_of_files(["1.JPG", "2.JPG"], list(texts), texts.__getitem__)
    assert classes.names == ("3", "5")
    assert is_label_file("a/1.CLS")


def test_json_of_windows_and_of_pandas_has_classes() -> None:
    text = json.dumps({"labels": [["0\\a.png", 1.0], ["0\\b.png", 0.0]]})
    classes = classes_of_json(text.encode(), ["0/a.png", "0/b.png"])
    assert classes.labels is not None
    assert classes.labels.tolist() == [1, 0]


def test_names_in_json_that_are_no_texts_are_no_classes() -> None:
    assert classes_of_json(b'{"labels": [[1, 2]]}', ["a.png"]).labels is None
