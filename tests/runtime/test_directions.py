"""Images along a direction of latent space: `wgan sample --direction`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wgan.errors import UsageError
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator, SampleConfig, sample
from wgan.runtime.latent_sources import (
    MovedLatents,
    SeedLatents,
    load_direction,
    load_directions,
)


@pytest.fixture
def directions(tmp_path: Path) -> Path:
    rows = np.eye(3, 4, dtype=np.float32)
    np.save(tmp_path / "d.npy", rows)
    return tmp_path / "d.npy"


def drawn(model_file: Path, out: Path, **options: Any) -> np.ndarray:
    sample(SampleConfig(model=str(model_file), out=str(out), **options))
    return np.load(out) if out.suffix == ".npy" else np.asarray(Image.open(out))


def test_a_strip_has_seeds_as_rows_and_strengths_as_columns(
    model_file: Path, generator: Generator, directions: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "seeds": "5,9",
        "direction": f"{directions}:1",
        "strength": (-2.0, 2.0),
        "frames": 5,
    }
    strip = drawn(model_file, tmp_path / "o.png", **options)
    z = latents_from_seeds([5, 9], 4)
    unit = np.array([0, 1, 0, 0], np.float32)
    cells = [row + np.float32(strength) * unit for row in z for strength in (-2, -1, 0, 1, 2)]
    np.testing.assert_array_equal(strip, grid(generator.pixels(np.stack(cells)), (2, 5)))


@pytest.mark.parametrize("frames", [3, 7, 31])
@pytest.mark.parametrize("strength", [(-3.0, 3.0), (-0.1, 0.1), (-1 / 3, 1 / 3)])
def test_the_middle_of_a_strip_is_the_plain_image_bit_for_bit(
    model_file: Path,
    generator: Generator,
    directions: Path,
    tmp_path: Path,
    frames: int,
    strength: tuple[float, float],
) -> None:
    cells = drawn(
        model_file,
        tmp_path / "o.npy",
        seeds="0-2",
        direction=str(directions),
        strength=strength,
        frames=frames,
        truncation=0.7,
        images=True,
    ).reshape(3, frames, 3, 8, 8)
    plain = drawn(model_file, tmp_path / "p.npy", seeds="0-2", truncation=0.7, images=True)
    np.testing.assert_array_equal(cells[:, frames // 2], plain)


def test_latents_of_a_file_can_be_moved(
    model_file: Path, generator: Generator, directions: Path, tmp_path: Path
) -> None:
    z = latents_from_seeds([7], 4)
    np.save(tmp_path / "z.npy", z)
    cells = drawn(
        model_file,
        tmp_path / "o.npy",
        latents=tmp_path / "z.npy",
        direction=f"{directions}:2",
        strength=(0.0, 4.0),
        frames=2,
    )
    moved = z + np.array([0, 0, 4, 0], np.float32)
    np.testing.assert_array_equal(cells, generator.pixels(np.concatenate([z, moved])))


def test_a_grid_says_how_many_seeds_and_strengths(
    model_file: Path, directions: Path, tmp_path: Path
) -> None:
    both: dict[str, Any] = {"model": str(model_file), "direction": str(directions)}
    assert len(SampleConfig(**both).source(4)) == 8 * 7
    source = SampleConfig(**both, grid=(2, 11)).source(4)
    assert source.grid_shape == (2, 11)


@pytest.mark.parametrize("name", ["o.gif", "o.webp", "o/", "o.tar"])
def test_animations_folders_and_archives_hold_each_image(
    model_file: Path, directions: Path, tmp_path: Path, name: str
) -> None:
    config = SampleConfig(
        model=str(model_file), out=f"{tmp_path}/{name}", direction=str(directions), seeds="1,1"
    )
    assert sample(config).count == 14
    if name in ("o.gif", "o.webp"):
        with Image.open(tmp_path / name) as animation:
            assert getattr(animation, "n_frames", 1) == 14
    if name == "o/":
        names = sorted(path.name for path in (tmp_path / "o").glob("*.png"))
        assert names == [f"{number:08d}.png" for number in range(14)]


def test_a_folder_of_another_strength_is_not_resumed(
    model_file: Path, directions: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {
        "model": str(model_file),
        "out": f"{tmp_path}/o/",
        "direction": str(directions),
    }
    sample(SampleConfig(**common))
    with pytest.raises(Exception, match="was started with"):
        sample(SampleConfig(**common, strength=(-1.0, 1.0)))
    with pytest.raises(Exception, match="was started with of_seeds '0-7'"):
        sample(SampleConfig(**common, seed=1))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strength": (-1.0, 1.0)}, "--strength requires --direction"),
        ({"direction": "d.npy", "interpolate": "1-3"}, "--interpolate and --direction exclude"),
        ({"direction": "d.npy", "frames": 1}, "at least 2 images"),
        ({"direction": "d.npy", "strength": (-1.0, 101.0)}, "--strength .* is not allowed"),
        ({"frames": 3}, "--frames requires --interpolate or --direction"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        SampleConfig(**options)


def test_a_ray_cluster_takes_no_direction(model_file: Path, directions: Path) -> None:
    config = SampleConfig(model=str(model_file), out="o/", ray=True, direction=str(directions))
    with pytest.raises(UsageError, match=r"leave out .*--direction"):
        sample(config)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("d.npy:3", "holds the directions 0 to 2"),
        ("d.npy:99999999999999999999", "holds the directions 0 to 2"),
        ("d.npy:x", "there is no file of directions d.npy:x"),
        ("gone.npy:0", "there is no file of directions gone.npy"),
        ("text:0", "are no .npy file of numbers"),
        ("whole.npy", "are int64 .*: this generator takes float"),
        ("wide.npy", r"this generator takes float \[n, 4\]"),
        ("nan.npy", "hold a number that is not within"),
        ("huge.npy", "hold a number that is not within"),
        ("many.npy", "at most 4096 are allowed"),
        (":0", "is no regular file|there is no file"),
    ],
)
def test_hostile_files_of_directions_are_refused(
    directions: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(directions.parent)
    Path("text").write_text("hello")
    np.save("whole.npy", np.ones((1, 4), np.int64))
    np.save("wide.npy", np.ones((1, 5), np.float32))
    np.save("nan.npy", np.full((1, 4), np.nan))
    np.save("huge.npy", np.full((1, 4), 1e300))
    np.save("many.npy", np.ones((4097, 4), np.float16))
    with pytest.raises(UsageError, match=sentence):
        load_direction(name, 4)


def test_a_colon_can_be_part_of_a_path(directions: Path) -> None:
    path = directions.rename(directions.with_name("a:b.npy"))
    np.testing.assert_array_equal(load_direction(str(path), 4), [1, 0, 0, 0])
    np.testing.assert_array_equal(load_direction(f"{path}:2", 4), [0, 0, 1, 0])
    assert load_directions(path, 4).dtype == np.float32


def test_moved_latents_keep_the_truncation_of_their_base() -> None:
    base = SeedLatents(0.5, [3], 4)
    moved = MovedLatents.along(base, np.array([1, 0, 0, 0], np.float32), 0.0, 2.0, 2)
    np.testing.assert_array_equal(moved.latents([0]), base.latents([0]))
    np.testing.assert_array_equal(moved.latents([1]) - base.latents([0]), [[2, 0, 0, 0]])
