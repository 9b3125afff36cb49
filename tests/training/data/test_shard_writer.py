import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.processes import RunWgan
from tests.training.data.conftest import save_image
from wgan.errors import DataError, OutputError, UsageError
from wgan.training.data import Transform, open_data, open_source
from wgan.training.data.shard_writer import WrittenShards, write_shards
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.execution import PrepareConfig


def members(written: WrittenShards) -> list[tuple[str, bytes]]:
    """Name and contents of the image files; the labels beside them have tests of their own."""
    found = []
    for name in written.shards:
        with tarfile.open(written.folder / name) as shard:
            for member in shard:
                if member.name.endswith(".cls"):
                    continue
                file = shard.extractfile(member)
                assert file is not None
                found.append((member.name, file.read()))
    return found


def test_shards_contain_every_file_unchanged(good: Path, tmp_path: Path) -> None:
    written = write_shards(open_source(good), tmp_path / "shards", shard_size=5)
    assert (written.shards, written.count) == (["000.tar", "001.tar", "002.tar"], 12)
    found = members(written)
    assert [name.partition(".")[0] for name, _ in found] == [f"{k:010}" for k in range(12)]
    assert sorted(data for _, data in found) == sorted(
        path.read_bytes() for path in good.rglob("*.*")
    )
    assert written.pattern == str(tmp_path / "shards" / "{000..002}.tar")
    assert open_data(written.pattern).name == "shards"


def test_the_order_is_random_and_reproducible(good: Path, tmp_path: Path) -> None:
    first, second = (
        write_shards(open_source(good), tmp_path / name, shard_size=12) for name in "ab"
    )
    assert (tmp_path / "a" / "000.tar").read_bytes() == (tmp_path / "b" / "000.tar").read_bytes()
    source = open_source(good)
    in_order = [source.encoded(k)[0] for k in range(12)]
    assert [data for _, data in members(first)] != in_order
    assert first.shards == second.shards


def test_images_can_be_resized(tmp_path: Path) -> None:
    transform = Transform(size=32, channels=3)
    written = write_shards(GlyphSource(7), tmp_path / "shards", transform=transform)
    drawn = {GlyphSource().image(k, 32).tobytes() for k in range(7)}
    kept = {Image.open(io.BytesIO(data)).tobytes() for _, data in members(written)}
    assert kept == drawn


def test_damaged_images_are_left_out_and_reported(tmp_path: Path) -> None:
    for seed in range(120):
        save_image(tmp_path / "some" / f"{seed:03}.png", seed)
    (tmp_path / "some" / "050.png").write_bytes(b"x")
    written = write_shards(open_source(tmp_path / "some"), tmp_path / "shards", shard_size=60)
    assert written.count == len(members(written)) == 119
    assert [Path(label).name for label, _ in written.skipped] == ["050.png"]


def test_too_many_damaged_images_leave_no_folder(tmp_path: Path) -> None:
    for seed in range(20):
        save_image(tmp_path / "some" / f"{seed:03}.png", seed)
    (tmp_path / "some" / "010.png").write_bytes(b"x")
    with pytest.raises(DataError, match="1 of 20 images are damaged"):
        write_shards(open_source(tmp_path / "some"), tmp_path / "shards", shard_size=5)
    assert [path.name for path in tmp_path.iterdir()] == ["some"]


def test_a_folder_that_is_not_empty_is_an_error(good: Path) -> None:
    with pytest.raises(OutputError, match="not an empty folder"):
        write_shards(GlyphSource(3), good)


def test_a_compressed_tar_keeps_its_order(good: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as archive:
        archive.add(good, "good")
    source = open_source(tmp_path / "good.tar.gz")
    written = write_shards(source, tmp_path / "shards")
    assert [data for _, data in members(written)] == [source.encoded(k)[0] for k in range(12)]


def test_the_folder_of_the_shards_is_an_error_with_the_pattern(tmp_path: Path) -> None:
    written = write_shards(GlyphSource(3), tmp_path / "shards", shard_size=1)
    with pytest.raises(DataError, match=r"folder of shards.*shards/\*\.tar"):
        open_data(str(written.folder))
    assert open_data(str(written.folder / "*.tar")).count == 3


def test_the_command_writes_shards_and_prints_how_to_train_on_them(
    run_wgan: RunWgan, good: Path, tmp_path: Path
) -> None:
    done = run_wgan("prepare", good, "shards", "--shard-size", 5, "--size", 32)
    assert done.returncode == 0, done.stderr
    assert "12 images in 3 shards" in done.stdout
    assert "wgan train 'shards/{000..002}.tar'" in done.stdout
    shards = open_data(str(tmp_path / "shards" / "{000..002}.tar"))
    assert (shards.channels, shards.count) == (3, 12)
    with tarfile.open(tmp_path / "shards" / "000.tar") as shard:
        names = shard.getnames()
    assert len([name for name in names if not name.endswith(".cls")]) == 5


def test_a_single_shard_keeps_its_classes(tmp_path: Path) -> None:
    source = GlyphSource(100)
    written = write_shards(source, tmp_path / "shards")
    assert written.pattern.endswith("000.tar")
    shards = open_data(written.pattern)
    assert (shards.class_names, shards.count) == (source.class_names, 100)


def test_the_command_rejects_shards_as_input(run_wgan: RunWgan, tmp_path: Path) -> None:
    write_shards(GlyphSource(3), tmp_path / "shards", shard_size=1)
    done = run_wgan("prepare", "shards/{000..002}.tar", "again")
    assert done.returncode == 2
    assert "are shards already" in done.stderr
    assert not (tmp_path / "again").exists()
    assert np.array_equal(sorted(p.name for p in tmp_path.iterdir()), ["shards"])


@pytest.mark.parametrize(
    "option",
    [{"data_range": "0,1"}, {"fit": "pad"}, {"channels": 3}, {"background": "black"}, {"crop": 5}],
)
def test_options_of_a_size_need_it(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs --size: without it, each file is stored as it is"):
        PrepareConfig(data="set", shards=tmp_path / "shards", **option)
