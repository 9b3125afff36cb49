import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.processes import ROOT
from wgan.errors import DataError
from wgan.training.data import Transform, load_images, open_source
from wgan.training.data.shard_writer import write_shards
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.labelled import with_class

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PIXELS = np.random.RandomState(0).randint(0, 256, (10, 20, 24, 3)).astype(np.uint8)
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["cat", "dog", "owl"]},
}


def png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(features: dict[str, Any] | None = FEATURES, **columns: Any) -> Any:
    images = [{"bytes": png(pixels), "path": None} for pixels in PIXELS]
    made = pa.table({"image": images, "label": [k % 2 for k in range(10)]} | columns)
    if features is None:
        return made
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return made.replace_schema_metadata(metadata)


def test_parquet_as_hugging_face_writes_it(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "train-00000-of-00001.parquet", row_group_size=3)
    source = open_source(tmp_path / "train-00000-of-00001.parquet")
    assert (source.name, len(source), source.channels) == ("train", 10, 3)
    assert source.class_names == ("cat", "dog", "owl")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1] * 5
    for index in (9, 0, 5, 3):
        assert np.array_equal(np.asarray(source.image(index, 32)), PIXELS[index])


def test_of_several_splits_the_training_files_are_used(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        parquet.write_table(table(), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("a data set")
    source = open_source(tmp_path)
    assert len(source) == 20
    assert source.unused == ("1 parquet files of the split test",)
    assert np.array_equal(np.asarray(source.image(13, 32)), PIXELS[3])


def test_a_table_of_many_row_groups_is_written_in_random_order(tmp_path: Path) -> None:
    path = tmp_path / "sorted.parquet"
    labels = [None, *(k // 5 for k in range(1, 10))]
    parquet.write_table(table(None, label=labels), path, row_group_size=1)
    source = open_source(path)
    labelled = with_class(source)
    assert isinstance(labelled, ImageSource)
    for each in (source, labelled):
        order = each.shuffled(np.random.RandomState(0))
        assert sorted(order) == list(range(len(each)))
        assert order != sorted(order)
    assert (len(source), len(labelled)) == (10, 9)
    assert labelled.some_indices(100) == list(range(9))


def test_a_small_table_of_many_row_groups_is_examined_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(table(), path, row_group_size=1)
    assert open_source(path).some_indices(200) == list(range(10))


def test_the_channels_are_those_of_images_from_all_over_the_table(tmp_path: Path) -> None:
    grey = [{"bytes": png(pixels[:, :, 0]), "path": None} for pixels in PIXELS]
    colour = table()["image"].to_pylist()
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"image": grey * 3 + colour * 3}), path, row_group_size=5)
    assert open_source(path).channels == 3


def test_tables_that_number_the_same_classes_differently_are_joined_by_their_names(
    tmp_path: Path,
) -> None:
    other = {**FEATURES, "label": {"_type": "ClassLabel", "names": ["dog", "cat", "owl"]}}
    for name, features in (("a", FEATURES), ("b", other)):
        (tmp_path / name).mkdir()
        parquet.write_table(table(features), tmp_path / name / "train-00000-of-00001.parquet")
    source = open_source(tmp_path)
    assert source.labels is not None
    found = [source.class_names[label] for label in source.labels]
    assert found == ["cat", "dog"] * 5 + ["dog", "cat"] * 5


def test_a_table_with_another_column_of_images_is_named(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "train-0.parquet")
    parquet.write_table(table(None).rename_columns(["img", "label"]), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"train-1\.parquet has no column image, .* are img, "):
        open_source(tmp_path)


def test_previews_beside_tables_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    parquet.write_table(table(), tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "preview.png").write_bytes(png(PIXELS[0]))
    source = open_source(tmp_path)
    assert (len(source), source.left_out) == (10, 1)
    assert source.unused == ("1 image beside the tables, as preview.png",)


def test_a_table_about_the_images_beside_it_is_not_the_data(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "metadata.parquet")
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(PIXELS[number]))
    assert len(open_source(tmp_path)) == 2


def test_a_saved_dataset_without_splits_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": []}')
    with pytest.raises(DataError, match="has no splits: save it again"):
        open_source(tmp_path)


def test_without_metadata_the_types_tell_the_columns(tmp_path: Path) -> None:
    plain = pa.table({"key": ["a", "b"], "jpg": [png(PIXELS[0]), png(PIXELS[1])]})
    parquet.write_table(plain, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert (source.labels, source.class_names) == (None, ())
    assert np.array_equal(np.asarray(source.image(1, 32)), PIXELS[1])


def test_images_may_be_nested_lists(tmp_path: Path) -> None:
    lists = pa.table({"x": [pixels[:, :, 0].tolist() for pixels in PIXELS[:3]]})
    parquet.write_table(lists, tmp_path / "a.parquet")
    assert np.array_equal(
        np.asarray(open_source(tmp_path / "a.parquet").image(2, 32))[:, :, 0], PIXELS[2, :, :, 0]
    )


def write_lists(path: Path, images: Any, kind: Any) -> Any:
    parquet.write_table(pa.table({"image": pa.array(images, kind)}), path)
    return open_source(path)


def test_nested_lists_keep_the_type_of_their_values(tmp_path: Path) -> None:
    kind = pa.list_(pa.list_(pa.uint8()))
    source = write_lists(tmp_path / "a.parquet", PIXELS[..., 0].tolist(), kind)
    pixels = load_images(source, Transform(size="20x24", channels=1)).pixels
    assert np.array_equal(pixels[..., 0], PIXELS[..., 0])
    assert write_shards(source, tmp_path / "shards").skipped == []


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (PIXELS[..., 0], pa.large_list(pa.large_list(pa.uint8()))),
        (PIXELS[..., 0], pa.list_(pa.list_(pa.uint8(), 24), 20)),
        (PIXELS[:, :16, :16, 0].reshape(10, 256), pa.list_(pa.uint8())),
        (PIXELS[:, :16, :16, 0].reshape(10, 256), pa.list_(pa.uint8(), 256)),
    ],
)
def test_lists_of_every_kind_are_images(tmp_path: Path, images: Any, kind: Any) -> None:
    source = write_lists(tmp_path / "a.parquet", images.tolist(), kind)
    found = np.stack([np.asarray(source.image(index, 32)) for index in range(10)])
    assert np.array_equal(found.reshape(10, -1), images.reshape(10, -1))


def test_flat_lists_that_are_no_square_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lists of 785 values.*784 for 28x28"):
        write_lists(tmp_path / "a.parquet", [[0] * 785] * 3, pa.list_(pa.uint8()))


@pytest.mark.parametrize("name", ["image", "JPG", "picture"])
def test_a_column_of_checksums_is_not_the_images(tmp_path: Path, name: str) -> None:
    images = [png(pixels) for pixels in PIXELS]
    md5 = ["0123456789abcdef"] * 10 if name == "picture" else [b"0123456789abcdef"] * 10
    kind = pa.binary_view() if name == "JPG" else pa.binary()
    columns = {"md5": md5, name: pa.array(images, kind)}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert np.array_equal(np.asarray(open_source(tmp_path / "a.parquet").image(4, 32)), PIXELS[4])


@pytest.mark.parametrize(
    ("training", "other", "split"),
    [
        ("training", "testing", "testing"),
        ("trainval-0", "test-0", "test"),
        ("train-0", "train-val-0", "train-val"),
    ],
)
def test_other_names_of_splits(tmp_path: Path, training: str, other: str, split: str) -> None:
    parquet.write_table(table(), tmp_path / f"{training}.parquet")
    parquet.write_table(table().slice(0, 4), tmp_path / f"{other}.parquet")
    source = open_source(tmp_path)
    assert len(source) == 10
    assert source.unused == (f"1 parquet files of the split {split}",)


@pytest.mark.parametrize("damage", ["ragged", "null", "missing"])
def test_a_row_of_damaged_lists_is_a_damaged_image(tmp_path: Path, damage: str) -> None:
    images = PIXELS[..., 0].tolist()
    if damage == "ragged":
        images[3][5] = images[3][5][:-1]
    elif damage == "null":
        images[3][5][2] = None
    else:
        images[3] = None
    source = write_lists(tmp_path / "a.parquet", images, pa.list_(pa.list_(pa.uint8())))
    transform = Transform(size=32, channels=1)
    data = load_images(source, transform, allow_damaged=True)
    assert [name.rpartition(" ")[2] for name, _ in data.skipped] == ["3"]


def test_images_may_be_files_beside_the_table(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(PIXELS[0]))
    parquet.write_table(
        table(None, image=[{"bytes": None, "path": "a.png"}] * 10), tmp_path / "a.parquet"
    )
    assert np.array_equal(np.asarray(open_source(tmp_path / "a.parquet").image(0, 32)), PIXELS[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", ["a\0b.png", "pipe", "/dev/zero", "gone.png"])
def test_a_file_beside_the_table_that_cannot_be_read_is_a_damaged_image(
    tmp_path: Path, name: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    parquet.write_table(
        table(None, image=[{"bytes": None, "path": name}] * 10), tmp_path / "a.parquet"
    )
    # In a process of its own: what is read without end must not end the tests.
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from wgan.errors import ImageError; from wgan.training.data import open_source\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (60, 60)); signal.alarm(120)\n"
        "try: open_source(Path(sys.argv[1])).image(0, 32)\n"
        "except ImageError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot be read: " in done.stdout, done.stderr


def test_an_image_whose_label_is_missing_has_no_class(tmp_path: Path) -> None:
    parquet.write_table(table(label=[0, None, 1, 1, 0] * 2), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source.labels is not None
    assert source.labels.tolist() == [0, -1, 1, 1, 0] * 2


@pytest.mark.parametrize("stream", [True, False])
def test_a_folder_that_datasets_saved(tmp_path: Path, stream: bool) -> None:
    for split, rows in (("train", 10), ("test", 4)):
        folder = tmp_path / split
        folder.mkdir()
        name = "data-00000-of-00001.arrow"
        content = table().slice(0, rows)
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with make(str(folder / name), content.schema) as writer:
            writer.write_table(content, max_chunksize=3)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        (folder / "dataset_info.json").write_text("{}")
    assert len(open_source(tmp_path / "test")) == 4
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["test", "train"]}))
    source = open_source(tmp_path)
    assert (len(source), source.unused) == (10, ("the split test",))
    assert source.class_names == ("cat", "dog", "owl")
    assert np.array_equal(np.asarray(source.image(7, 32)), PIXELS[7])


def test_shards_hold_the_files_of_a_table_as_they_are(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "a.parquet")
    written = write_shards(open_source(tmp_path / "a.parquet"), tmp_path / "shards")
    assert (written.count, written.skipped) == (10, [])


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_damaged_table_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        open_source(tmp_path / "a.parquet")


def test_a_table_without_images_names_its_columns(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"no column of images.*text \(string\), n \(int64\)"):
        open_source(tmp_path / "a.parquet")


def test_an_incomplete_saved_dataset_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train"]}))
    with pytest.raises(DataError, match="incomplete"):
        open_source(tmp_path)


def test_image_files_may_be_a_dictionary_column(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    column = pa.array([png(image) for image in images]).dictionary_encode()
    parquet.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert np.array_equal(np.asarray(source.image(3, 32)), images[3])


def test_a_saved_dataset_of_selected_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.arrow").write_bytes(b"x")
    state = {
        "_data_files": [{"filename": "data.arrow"}],
        "_indices_data_files": [{"filename": "i"}],
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match="flatten_indices"):
        open_source(tmp_path)


def test_only_some_of_many_columns_are_named(tmp_path: Path) -> None:
    columns = {f"pixel{k}": [0] for k in range(1000)}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column of images") as error:
        open_source(tmp_path / "a.parquet")
    assert len(str(error.value)) < 1000
