import tarfile
from pathlib import Path

import pytest

from tests.training.data.conftest import save_image
from wgan.errors import DataError
from wgan.training.data import open_data
from wgan.training.data.shards import (
    INDEX,
    Shards,
    find_shards,
    images_of,
    read_samples,
    write_index,
)


def make_shard(path: Path, names: list[str]) -> None:
    """A shard as any other program might write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = path.parent / "image.png"
    save_image(image, seed=len(names))
    with tarfile.open(path, "w") as shard:
        for name in names:
            shard.add(image, name)
    image.unlink()


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder of three shards with two images each."""
    for shard in range(3):
        make_shard(tmp_path / "wild" / f"{shard:03}.tar", [f"{shard}{k}.png" for k in range(2)])
    return tmp_path / "wild"


@pytest.mark.parametrize("pattern", ["{000..002}.tar", "*.tar", "00?.tar", "{002,000,001}.tar"])
def test_a_pattern_matches_shards_in_order(three: Path, pattern: str) -> None:
    shards = open_data(str(three / pattern))
    assert isinstance(shards, Shards)
    assert [path.name for path in shards.paths] == ["000.tar", "001.tar", "002.tar"]
    assert (shards.name, shards.count, shards.channels) == ("wild", None, 3)


def test_a_single_tar_is_an_archive_and_not_a_stream(three: Path) -> None:
    assert not isinstance(open_data(three / "000.tar"), Shards)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("{000..003}.tar", "shard .*003.tar.* does not exist"),
        ("x*.tar", "no file matches"),
        ("{000..002.tar", "braces"),
    ],
)
def test_missing_shards_are_an_error(three: Path, pattern: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        find_shards(str(three / pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        "{0..999999999}.tar",
        "{0..99999999999999999999}.tar",
        "{0..999}/{0..9999}.tar",
        "{-5000000..5000000..2}.tar",
        "{a,b}{c,d}{0..499999}.tar",
    ],
)
def test_a_pattern_of_too_many_shards_is_refused_before_it_fills_the_memory(pattern: str) -> None:
    with pytest.raises(DataError, match="names more than 1,000,000 shards: write a narrower"):
        find_shards(pattern)


def test_a_pattern_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be used"):
        find_shards("**.tar")


def test_the_index_has_the_count_of_all_its_shards_only(three: Path) -> None:
    write_index(sorted(three.glob("*.tar")), count=6)
    assert find_shards(str(three / "*.tar")).count == 6
    assert find_shards(str(three / "{000..001}.tar")).count is None


def test_a_truncated_shard_is_an_error(three: Path) -> None:
    write_index(sorted(three.glob("*.tar")), count=6)
    path = three / "001.tar"
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(DataError, match=r"001\.tar has 1024 bytes"):
        find_shards(str(three / "*.tar"))


def test_a_damaged_index_is_an_error_that_names_it(three: Path) -> None:
    (three / INDEX).write_text('{"pictures": 6}')
    with pytest.raises(DataError, match=INDEX):
        find_shards(str(three / "*.tar"))


def test_a_sample_has_one_image_whatever_other_files_it_has(tmp_path: Path) -> None:
    names = ["a.png", "a.cls", "a.json", "._b.png", "b.jpg", "notes.txt"]
    make_shard(tmp_path / "0.tar", names)
    samples = list(read_samples([tmp_path / "0.tar"]))
    assert [sample["__key__"] for sample in samples] == ["a", "b"]
    assert all(images_of(sample)[0].startswith(b"\x89PNG") for sample in samples)


def test_an_array_beside_an_image_is_not_the_image(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name in ("a.npy", "a.png", "b.npy"):  # each holds its own name
            (tmp_path / name).write_text(name)
            shard.add(tmp_path / name, name)
    first, second = read_samples([tmp_path / "0.tar"])
    assert images_of(first)[0] == b"a.png"
    assert images_of(second)[0] == b"b.npy"


@pytest.mark.parametrize("damage", ["cut", "noise", "twice"])
def test_a_damaged_shard_is_an_error_that_names_it(three: Path, damage: str) -> None:
    path = three / "001.tar"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "noise":
        path.write_bytes(b"no archive" * 1000)
    else:
        make_shard(path, ["a.png", "a.png"])
    with pytest.raises(DataError, match=r"shard.* is damaged: .*copy it again") as caught:
        list(read_samples(find_shards(str(three / "*.tar")).paths))
    assert damage == "twice" or str(path) in str(caught.value)
