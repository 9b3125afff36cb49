import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.processes import environment
from tests.training.data.conftest import RealData, save_image
from wgan.errors import DataError
from wgan.training.data import (
    Cache,
    ImageSource,
    InMemoryDataset,
    load_images,
    open_source,
    pixelfile,
)
from wgan.training.data.sources.glyphs import GlyphSource

PROGRAM = """
import os, sys
from pathlib import Path
from wgan.training.data import Cache, load_images
from wgan.training.data.sources.glyphs import GlyphSource
cache = Cache(folder=Path(sys.argv[1]))
images = load_images(GlyphSource(500), size=32, channels=3, cache=cache)
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path / "cache")


def load(source: ImageSource | Path, cache: Cache | None, **settings: object) -> InMemoryDataset:
    source = source if isinstance(source, ImageSource) else open_source(source)
    return load_images(source, cache=cache, **{"size": 32, "channels": 3, **settings})  # type: ignore[arg-type]


def files(cache: Cache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def told(source: ImageSource | Path, cache: Cache) -> int:
    """How many images were decoded to load the source."""
    calls: list[int] = []
    load(source, cache, progress=lambda done, _: calls.append(done))
    return max(calls, default=0)


def test_the_second_time_nothing_is_decoded_and_the_images_are_the_same(
    good: Path, cache: Cache
) -> None:
    in_memory = load(good, None)
    assert told(good, cache) == 12
    assert told(good, cache) == 0
    cached = load(good, cache)
    assert np.array_equal(cached.pixels, in_memory.pixels)
    assert (cached.sha256, cached.skipped) == (in_memory.sha256, in_memory.skipped)
    assert not cached.pixels.flags.writeable


def test_what_was_skipped_is_remembered_and_judged_again(tmp_path: Path, cache: Cache) -> None:
    folder = tmp_path / "some"
    for seed in range(20):
        save_image(folder / f"{seed:02}.png", seed)
    (folder / "07.png").write_bytes(b"x")
    for _ in range(2):
        images = load(folder, cache, allow_damaged=True)
        assert [Path(label).name for label, _ in images.skipped] == ["07.png"]
        assert len(images.pixels) == 19
    with pytest.raises(DataError, match="1 of 20 images are damaged"):
        load(folder, cache)


def test_a_changed_source_or_transform_has_a_file_of_its_own(good: Path, cache: Cache) -> None:
    load(good, cache)
    for settings in ({"size": 64}, {"channels": 1}, {"crop": 20}, {"background": (0, 0, 0)}):
        load(good, cache, **settings)
    assert len(files(cache)) == 5
    save_image(good / "0" / "00.png", seed=99)  # as long as before, but of another time
    assert told(good, cache) == 12
    (good / "0" / "00.png").unlink()
    assert told(good, cache) == 11


def test_a_folder_that_was_moved_is_known_by_its_contents(good: Path, cache: Cache) -> None:
    load(good, cache)
    (good.parent / "elsewhere").mkdir()
    good.rename(good.parent / "elsewhere" / "good")
    assert told(good.parent / "elsewhere" / "good", cache) == 0


@pytest.mark.parametrize("cut", [1, 30, 5000, None])
def test_a_cut_cache_is_named_and_made_anew(
    good: Path, cache: Cache, cut: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(good, cache).sha256
    (path,) = files(cache)
    data = path.read_bytes()
    path.write_bytes(data[: -cut if cut else 0])
    with caplog.at_level(logging.WARNING):
        assert told(good, cache) == 12
    assert f"the cache {path} is damaged" in caplog.text
    assert load(good, cache).sha256 == before


def test_any_flipped_bit_is_noticed(good: Path, cache: Cache) -> None:
    load(good, cache)
    (path,) = files(cache)
    data = path.read_bytes()
    for place in (0, 100, 12 * 32 * 32 * 3 - 1, len(data) - 100, len(data) - 15, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert pixelfile.read_images(path) is None
    path.write_bytes(data)
    assert pixelfile.read_images(path) is not None


def test_the_least_recently_used_are_removed_to_make_room(cache: Cache) -> None:
    a_third = 100 * 32 * 32 * 3 + 5000
    small = Cache(folder=cache.folder, size=3 * a_third)
    for count in (100, 99, 98):
        load(GlyphSource(count), small)
        age(small, seconds=10)
    assert told(GlyphSource(100), small) == 0  # now the one used last
    load(GlyphSource(97), small)
    assert told(GlyphSource(100), small) == 0
    assert told(GlyphSource(99), small) == 99
    assert sum(path.stat().st_size for path in files(small)) <= small.size


def age(cache: Cache, seconds: float) -> None:
    for path in files(cache):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def test_images_that_need_more_than_the_limit_are_an_error_that_says_what_to_do(
    cache: Cache,
) -> None:
    with pytest.raises(DataError, match=r"--cache-limit.*shards"):
        load(GlyphSource(100), Cache(folder=cache.folder, limit=100 * 32 * 32 * 3 - 1))
    assert not cache.folder.exists()


def test_what_a_crash_left_behind_is_removed_when_it_is_old(cache: Cache) -> None:
    cache.folder.mkdir()
    old, young = (cache.folder / f".x.pixels.{pid}.partial" for pid in (1, 2))
    for path in (old, young):
        path.write_bytes(b"x")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    load(GlyphSource(5), cache)
    assert not old.exists()
    assert young.exists()


def test_a_cache_that_cannot_be_written_is_named_and_memory_is_used(
    good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    with caplog.at_level(logging.WARNING):
        images = load(good, Cache(folder=tmp_path / "file" / "cache"))
    assert len(images.pixels) == 12
    assert "held in memory" in caplog.text


def test_a_full_disk_leaves_nothing_half_written(cache: Cache) -> None:
    program = PROGRAM + "print(images.pixels.shape[0], os.listdir(sys.argv[1]))"
    limit = 1_000_000  # bytes a file may have: the write after that fails
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache.folder)],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stdout.strip() == "500 []"
    assert "held in memory" in done.stderr


def test_two_processes_may_make_it_at_the_same_time(cache: Cache) -> None:
    program = PROGRAM + "print(images.sha256)"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(cache.folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for _ in range(2)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert answers == {load(GlyphSource(500), None).sha256}
    assert len(files(cache)) == 1
    assert told(GlyphSource(500), cache) == 0


def test_real_images_are_decoded_once(real_data: RealData, cache: Cache) -> None:
    source = open_source(real_data("emoji") / "emoji-png-128.tar")
    first = load(source, cache)
    assert told(source, cache) == 0
    assert load(source, cache).sha256 == first.sha256
