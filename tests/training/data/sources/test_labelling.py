import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.conftest import save_image
from wgan.training.data import open_source
from wgan.training.data.sources.glyphs import CHARACTERS, GlyphSource
from wgan.training.data.sources.image_files import FolderSource
from wgan.training.data.sources.labelling import (
    classes_of_column,
    classes_of_folders,
    classes_of_json,
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
        ([], ()),
    ],
)
def test_subfolders_are_classes_if_every_image_lies_in_one(
    paths: list[str], names: tuple[str, ...]
) -> None:
    classes = classes_of_folders(paths)
    assert classes.names == names
    assert (classes.labels is not None) == bool(names)


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
        ([0, None, 1], "the labels have no value for 1 of 3 images"),
        ([0, -1, 1], "the labels are negative, as -1, for 1 of 3 images"),
        ([0.5, 1.0], "the labels are not whole numbers"),
        (["a", "a"], "the labels are all a"),
        (range(10), "the labels have 10 values for 10 images, which are too many for classes"),
        ([[1, 1], [0, 1]], "the labels have several values for an image"),
        ([[1], [0, 1]], "the labels have several values for an image"),
    ],
)
def test_labels_that_are_no_classes_have_a_reason(column: Any, reason: str) -> None:
    classes = classes_of_column(column)
    assert (classes.labels, classes.names, classes.reason) == (None, (), reason)


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
    "text", [b"", b"[]", b"{}", b'{"labels": null}', b'{"labels": [["a.png", [0, 1]]]}']
)
def test_another_dataset_json_has_no_labels(text: bytes) -> None:
    assert classes_of_json(text, ["a.png"]).labels is None


def test_characters_are_the_classes_of_glyphs() -> None:
    source = GlyphSource(200)
    assert source.class_names == tuple(CHARACTERS)
    assert [source.class_names[label] for label in source.labels] == [
        source.character(index) for index in range(200)
    ]
