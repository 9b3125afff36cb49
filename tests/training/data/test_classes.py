"""The classes of data: refused or described, in memory, in the cache and in shards."""

import io
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.data.conftest import save_image
from wgan.errors import DataError
from wgan.training.data import (
    ArraySource,
    Cache,
    ImageSource,
    InMemoryDataset,
    Shards,
    StreamingDataset,
    Transform,
    load_data,
    load_images,
    open_data,
    open_source,
)
from wgan.training.data.classes import class_names, describe_classes, imbalance
from wgan.training.data.shard_writer import prepare, write_shards
from wgan.training.data.sources.labelled import with_class
from wgan.training.execution import PrepareConfig

CPU = torch.device("cpu")
NAMES = ("cat", "dog", "bird")
GREY = Transform(size=32, channels=1)


def array_source(count: int = 12) -> ArraySource:
    """Image k has the value k in each pixel, and the label k % 3."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    source = ArraySource("numbers", pixels)
    source.labels, source.class_names = np.arange(count) % 3, NAMES
    return source


def numbers(batch: torch.Tensor) -> list[int]:
    return ((batch[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_a_batch_has_the_labels_of_its_images(on_device: bool, flip: bool) -> None:
    data = load_images(array_source(), GREY)
    options: dict[str, Any] = {"flip": flip, "on_device": on_device, "holdout": 0.2}
    batches = data.batches(4, 0, CPU, **options)
    plain = data.batches(4, 0, CPU, **options)
    for _ in range(5):
        images, labels = batches.next_labelled()
        assert labels is not None
        assert labels.dtype == torch.int64
        assert labels.tolist() == [number % 3 for number in numbers(images)]
        assert torch.equal(plain.next(), images)


def test_a_damaged_image_takes_its_label_along(tmp_path: Path) -> None:
    for seed in range(6):
        save_image(tmp_path / "data" / f"{seed}.png", seed)
    (tmp_path / "data" / "2.png").write_bytes(b"no image")
    source = open_source(tmp_path / "data")
    source.labels, source.class_names = np.array([0, 1, 2, 0, 1, 2]), NAMES
    cache = Cache(folder=tmp_path / "cache")
    for _ in range(2):  # decoded, then from the cache
        data = load_images(source, Transform(size=32, channels=3), allow_damaged=True, cache=cache)
        assert data.labels is not None
        assert data.labels.tolist() == [0, 1, 0, 1, 2]
        assert data.class_counts == (2, 2, 1)


def test_labels_are_not_part_of_the_cache(tmp_path: Path) -> None:
    plain, labelled = array_source(), array_source()
    plain.labels, plain.class_names = None, ()
    cache = Cache(folder=tmp_path)
    written = load_images(plain, GREY, cache=cache)
    read = load_images(labelled, GREY, cache=cache)
    assert written.labels is None
    assert read.labels is not None
    assert read.sha256 == written.sha256
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_the_labelled_hash_depends_on_labels_and_names() -> None:
    data = load_images(array_source(), GREY)
    assert data.labels is not None
    others = [
        data.with_labels(data.labels[::-1].copy(), NAMES),
        data.with_labels(data.labels, NAMES[::-1]),
    ]
    hashes = {some.labelled_sha256 for some in (data, *others)}
    assert len(hashes) == 3
    assert {some.sha256 for some in others} == {data.sha256}
    assert data.with_labels(data.labels.copy(), list(NAMES)).labelled_sha256 in hashes


def test_labels_of_an_array_are_checked() -> None:
    pixels = np.zeros((3, 8, 8), np.uint8)
    data = InMemoryDataset.from_array(pixels, labels=[0, 2, 0])
    assert (data.class_names, data.class_counts) == (("0", "1", "2"), (2, 0, 1))
    for labels in ([0, 1], [0, 1, -1], [0.0, 1.0, 2.0], [[0, 1, 2]]):
        with pytest.raises(DataError, match=r"the labels are .* but must be 3 integers from 0"):
            InMemoryDataset.from_array(pixels, labels=labels)
    for names in (["cat"], ["cat", "cat", "dog"]):
        with pytest.raises(DataError, match="each class needs a name of its own"):
            InMemoryDataset.from_array(pixels, labels=[0, 1, 2], class_names=names)


def test_data_that_cannot_be_conditional_is_refused() -> None:
    source = array_source()
    assert class_names(source) == NAMES
    source.class_names = ("cat",)
    with pytest.raises(DataError, match="numbers has one class, cat: train without"):
        class_names(source)
    source.class_names = ()
    with pytest.raises(DataError, match=r"numbers has no classes\. Put the images of each class"):
        class_names(source)


@pytest.mark.parametrize(
    "name",
    [
        "labels.csv",
        "metadata.csv",
        "metadata.jsonl",
        "list_attr_celeba.txt",
        "Anno/identity_CelebA.txt",
        "annotations/instances_train2017.json",
        "00.cls.txt",
        "00.json",
    ],
)
def test_a_list_of_labels_that_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    save_image(images / "00.png")
    save_image(images / "01.png")
    (images / "notes.txt").write_text("x")
    (images / name).parent.mkdir(exist_ok=True)
    (images / name).write_text("x")
    advice = rf"labels are not read from {re.escape(name)}; put .* subfolder .* dataset\.json"
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", images)
    for data in (images, archive):
        with pytest.raises(DataError, match=rf"has no classes: {advice}"):
            class_names(open_source(data))


def test_images_without_a_class_are_left_out_and_counted(tmp_path: Path) -> None:
    source = array_source()
    source.labels = np.array([-1, 1, 2] * 4)
    source.unused, source.reads_forward, source.can_be_surveyed = ("a readme",), True, False
    labelled = with_class(source)
    assert isinstance(labelled, ImageSource)
    assert labelled.unused == ("a readme", "4 images without a class")
    assert (labelled.reads_forward, labelled.can_be_surveyed) == (True, False)
    cache = Cache(folder=tmp_path)
    for some, expected in ((labelled, [1, 2, 4, 5, 7, 8, 10, 11]), (source, list(range(12)))):
        for _ in range(2):  # decoded, and from the cache
            data = load_images(some, GREY, cache=cache)
            assert data.pixels[:, 0, 0, 0].tolist() == expected
    assert load_images(labelled, GREY).class_counts == (0, 4, 4)
    source.labels = np.array([0, 1, -1] * 4)
    other = with_class(source)
    assert isinstance(other, ImageSource)
    assert other.fingerprint() != labelled.fingerprint()
    source = array_source()
    assert with_class(source) is source


def test_shards_with_images_without_a_class_are_refused(tmp_path: Path) -> None:
    source = array_source()
    source.labels = np.array([-1, 1, 2] * 4)
    written = write_shards(source, tmp_path / "shards")
    with pytest.raises(DataError, match=r"4 of 12 images of shards .*prepare --only-labelled"):
        class_names(open_data(written.pattern))


def test_shards_are_written_of_the_images_with_a_class(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8)[:, None, None].repeat(32, 1).repeat(32, 2)
    np.savez(tmp_path / "some.npz", images=pixels, labels=["", "cat", "dog"] * 4)
    written = prepare(
        PrepareConfig(
            data=str(tmp_path / "some.npz"), shards=tmp_path / "shards", only_labelled=True
        )
    )
    assert class_names(open_data(written.pattern)) == ("cat", "dog")
    data = stream(written.pattern)
    assert data.class_counts == (4, 4)
    images, labels = data.batches(8, 0, CPU).next_labelled()
    assert labels is not None
    assert labels.tolist() == [number % 3 - 1 for number in numbers(images)]


def test_few_classes_are_named_with_their_counts() -> None:
    assert describe_classes(NAMES, (120, 80, 1000)) == "3: cat 120, dog 80, bird 1,000"
    assert describe_classes(NAMES, ()) == "3: cat, dog, bird"


def test_of_many_classes_the_largest_and_the_smallest_are_named() -> None:
    names = tuple(f"class {k}" for k in range(40))
    counts = tuple(range(100, 140))
    assert describe_classes(names, counts) == "40, from class 0 100 to class 39 139 images"
    assert describe_classes(names, ()).endswith("class 11 and 28 more")


def test_classes_of_very_different_sizes_are_said() -> None:
    assert imbalance(NAMES, (30, 10, 20)) is None
    assert imbalance(NAMES, ()) is None
    sentence = imbalance(NAMES, (5000, 1, 20)) or ""
    assert sentence.startswith("dog has 1 image and cat 5,000: each class is drawn as often as")
    assert imbalance(NAMES, (5, 0, 5)) is not None


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    return write_shards(array_source(), tmp_path / "shards", shard_size=5).pattern


def stream(pattern: str) -> StreamingDataset:
    shards = open_data(pattern)
    assert isinstance(shards, Shards)
    data = load_data(shards, GREY)
    assert isinstance(data, StreamingDataset)
    return data


def test_shards_hold_a_label_for_each_image(pattern: str) -> None:
    data = stream(pattern)
    assert (data.class_names, data.class_counts) == (NAMES, (4, 4, 4))
    batches, plain = data.batches(8, 0, CPU), data.batches(8, 0, CPU)
    for _ in range(4):
        images, labels = batches.next_labelled()
        assert labels is not None
        assert labels.tolist() == [number % 3 for number in numbers(images)]
        assert torch.equal(plain.next(), images)
    train, held_out = data.train_and_holdout(0.4, seed=0, n=12, labelled=True)
    for part in (train, held_out):
        assert part.labels is not None
        assert part.labels.tolist() == (part.pixels[:, 0, 0, 0] % 3).tolist()
    assert len(train.pixels) + len(held_out.pixels) == 12


def test_some_of_the_shards_have_all_class_names_and_no_counts(pattern: str) -> None:
    some = stream(str(Path(pattern).parent / "00[01].tar").replace("[01]", "{0..1}"))
    assert (some.count, some.class_names, some.class_counts) == (None, NAMES, ())


def test_shards_without_classes_have_none(tmp_path: Path) -> None:
    source = array_source()
    source.labels, source.class_names = None, ()
    written = write_shards(source, tmp_path / "shards")
    with tarfile.open(written.folder / "000.tar") as shard:
        assert not any(name.endswith(".cls") for name in shard.getnames())
    assert stream(f"{written.folder}/*.tar").class_names == ()


def test_a_sample_without_a_label_is_named(tmp_path: Path, pattern: str) -> None:
    # Shards of another program, beside an index that names classes.
    folder = tmp_path / "other"
    folder.mkdir()
    index = (Path(pattern).parent / "shards.json").read_text()
    (folder / "shards.json").write_text(index.replace("000.tar", "x.tar"))
    save_image(folder / "0.png")
    with tarfile.open(folder / "0.tar", "w") as shard:
        shard.add(folder / "0.png", "0.png")
        wrong = tarfile.TarInfo("0.cls")
        wrong.size = 1
        shard.addfile(wrong, io.BytesIO(b"7"))
    with pytest.raises(DataError, match=r"0 in .*0\.tar has no label from 0 to 2 in its \.cls"):
        stream(f"{folder}/*.tar").batches(1, 0, CPU).next_labelled()
