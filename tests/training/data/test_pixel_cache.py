import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import environment
from tests.training.data.conftest import RealData, save_image
from wgan.errors import DataError, OutputError
from wgan.progress import ProgressFn
from wgan.training.data import (
    Cache,
    ImageSource,
    InMemoryDataset,
    Transform,
    load_images,
    open_source,
)
from wgan.training.data.pixel_cache import cache_folder
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.execution import CacheConfig

PROGRAM = """
import os, sys
from pathlib import Path
from wgan.training.data import Cache, Transform, load_images
from wgan.training.data.sources.glyphs import GlyphSource
cache = Cache(folder=Path(sys.argv[1]))
images = load_images(GlyphSource(500), Transform(size=32, channels=3), cache=cache)
"""


COLOUR = Transform(size=32, channels=3)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=tmp_path / "cache")


def load(
    source: ImageSource | Path,
    cache: Cache | None,
    transform: Transform = COLOUR,
    *,
    allow_damaged: bool = False,
    progress: ProgressFn | None = None,
) -> InMemoryDataset:
    source = source if isinstance(source, ImageSource) else open_source(source)
    return load_images(
        source, transform, cache=cache, allow_damaged=allow_damaged, progress=progress
    )


def entries(cache: Cache) -> list[Path]:
    return sorted(cache.folder.glob("*.npy"))


def count_decoded(source: ImageSource | Path, cache: Cache) -> int:
    """Load the source, and return how many images were decoded for that."""
    calls: list[int] = []
    load(source, cache, progress=lambda done, _: calls.append(done))
    return max(calls, default=0)


def test_a_second_load_decodes_nothing_and_yields_the_same_images(good: Path, cache: Cache) -> None:
    in_memory = load(good, None)
    assert count_decoded(good, cache) == 12
    assert count_decoded(good, cache) == 0
    cached = load(good, cache)
    assert np.array_equal(cached.pixels, in_memory.pixels)
    assert (cached.sha256, cached.skipped) == (in_memory.sha256, in_memory.skipped)
    assert not cached.pixels.flags.writeable


def test_skipped_images_are_stored_and_checked_again(tmp_path: Path, cache: Cache) -> None:
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


def test_a_changed_source_or_transform_has_its_own_entry(good: Path, cache: Cache) -> None:
    load(good, cache)
    for transform in (
        replace(COLOUR, size=64),
        replace(COLOUR, channels=1),
        replace(COLOUR, crop=20),
        replace(COLOUR, background=(0, 0, 0)),
    ):
        load(good, cache, transform)
    assert len(entries(cache)) == 5
    save_image(good / "0" / "00.png", seed=99)  # same size, another modification time
    assert count_decoded(good, cache) == 12
    (good / "0" / "00.png").unlink()
    assert count_decoded(good, cache) == 11


def test_a_moved_folder_is_found_by_its_contents(good: Path, cache: Cache) -> None:
    load(good, cache)
    (good.parent / "elsewhere").mkdir()
    good.rename(good.parent / "elsewhere" / "good")
    assert count_decoded(good.parent / "elsewhere" / "good", cache) == 0


@pytest.mark.parametrize("kind", ["a file", "a folder", "an archive"])
def test_other_images_with_equal_names_sizes_and_times_have_their_own_entry(
    tmp_path: Path, cache: Cache, kind: str
) -> None:
    found = []
    for fold, seed in (("fold1", 0), ("fold2", 1)):
        folder = tmp_path / fold / "images"
        folder.mkdir(parents=True)
        pixels = np.random.RandomState(seed).randint(0, 256, (20, 16, 16, 3)).astype(np.uint8)
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(folder / f"{number}.bmp")
        path = folder
        if kind == "a file":
            path = tmp_path / fold / "images.npy"
            np.save(path, pixels)
        if kind == "an archive":
            shutil.make_archive(str(folder), "zip", folder)
            path = folder.with_suffix(".zip")
        for each in (path, *folder.iterdir()):
            os.utime(each, (1_700_000_000, 1_700_000_000))
        found.append(load(path, cache).pixels)
    assert len(entries(cache)) == 2
    assert not np.array_equal(found[0], found[1])


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("cut", [1, 30, 5000, None])
def test_a_truncated_entry_is_reported_and_written_again(
    good: Path, cache: Cache, suffix: str, cut: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(good, cache).sha256
    (path,) = entries(cache)
    file = path.with_suffix(suffix)
    data = file.read_bytes()
    file.write_bytes(data[: -cut if cut else 0])
    with caplog.at_level(logging.WARNING):
        assert count_decoded(good, cache) == 12
    assert f"the cache {path} is damaged" in caplog.text
    assert load(good, cache).sha256 == before
    assert count_decoded(good, cache) == 0


def test_any_flipped_bit_is_detected(good: Path, cache: Cache) -> None:
    load(good, cache)
    (path,) = entries(cache)
    for file in (path, path.with_suffix(".json")):
        data = file.read_bytes()
        middle = len(data) // 2
        places = range(len(data)) if file != path else (0, 20, 60, 128, middle, len(data) - 1)
        for place in places:
            file.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            assert cache.read(path) is None, place
        file.write_bytes(data)
    assert cache.read(path) is not None


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_an_entry_without_one_of_its_files_is_written_again(
    good: Path, cache: Cache, suffix: str
) -> None:
    load(good, cache)
    (path,) = entries(cache)
    path.with_suffix(suffix).unlink()
    assert count_decoded(good, cache) == 12
    assert count_decoded(good, cache) == 0


def test_an_entry_is_a_numpy_array_of_the_good_images(tmp_path: Path, cache: Cache) -> None:
    for seed in range(5):
        save_image(tmp_path / "some" / f"{seed}.png", seed)
    (tmp_path / "some" / "2.png").write_bytes(b"x")
    images = load(tmp_path / "some", cache, allow_damaged=True)
    (path,) = entries(cache)
    assert np.array_equal(np.load(path), images.pixels)
    assert images.pixels.shape == (4, 32, 32, 3)


def test_the_least_recently_used_entries_are_removed_to_make_room(cache: Cache) -> None:
    a_third = 100 * 32 * 32 * 3 + 5000
    small = Cache(folder=cache.folder, size=3 * a_third)
    for count in (100, 99, 98):
        load(GlyphSource(count), small)
        age(small, seconds=10)
    assert count_decoded(GlyphSource(100), small) == 0  # now the most recently used
    load(GlyphSource(97), small)
    assert count_decoded(GlyphSource(100), small) == 0
    assert count_decoded(GlyphSource(99), small) == 99
    assert sum(path.stat().st_size for path in small.folder.iterdir()) <= small.size


def age(cache: Cache, seconds: float) -> None:
    for path in cache.folder.iterdir():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def test_an_entry_over_the_limit_is_an_error_with_advice(
    cache: Cache,
) -> None:
    with pytest.raises(DataError, match=r"--cache-limit.*shards"):
        load(GlyphSource(100), Cache(folder=cache.folder, limit=100 * 32 * 32 * 3 - 1))
    assert not cache.folder.exists()


def test_old_partial_files_are_removed(cache: Cache) -> None:
    cache.folder.mkdir()
    old, recent = (cache.folder / f".x.npy.{pid}.partial" for pid in (1, 2))
    for path in (old, recent):
        path.write_bytes(b"x")
    long_ago = time.time() - 7200
    os.utime(old, (long_ago, long_ago))
    load(GlyphSource(5), cache)
    assert not old.exists()
    assert recent.exists()


def test_an_unwritable_cache_is_reported_and_memory_is_used(
    good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    with caplog.at_level(logging.WARNING):
        images = load(good, Cache(folder=tmp_path / "file" / "cache"))
    assert len(images.pixels) == 12
    assert "held in memory" in caplog.text


def test_a_full_disk_leaves_no_partial_file(cache: Cache) -> None:
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


def test_two_processes_can_write_an_entry_at_the_same_time(cache: Cache) -> None:
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
    assert len(entries(cache)) == 1
    assert count_decoded(GlyphSource(500), cache) == 0


def test_real_images_are_decoded_once(real_data: RealData, cache: Cache) -> None:
    source = open_source(real_data("emoji") / "emoji-png-128.tar")
    first = load(source, cache)
    assert count_decoded(source, cache) == 0
    assert load(source, cache).sha256 == first.sha256


def test_entries_of_0_1_0_make_room_too(cache: Cache) -> None:
    cache.folder.mkdir()
    (cache.folder / "old.pixels").write_bytes(bytes(10_000))
    cache = Cache(folder=cache.folder, size=5 * 32 * 32 * 3 + 5000)
    load(GlyphSource(5), cache)
    assert not (cache.folder / "old.pixels").exists()


def test_without_a_home_folder_images_stay_in_memory_and_downloads_are_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("WGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with caplog.at_level(logging.WARNING):
        assert Cache.of(CacheConfig()) is None
    assert "WGAN_CACHE" in caplog.text
    with pytest.raises(OutputError, match="WGAN_CACHE"):
        cache_folder()
