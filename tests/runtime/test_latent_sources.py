from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgan.errors import UsageError
from wgan.latents import latents_from_seeds
from wgan.runtime import SampleConfig
from wgan.runtime.latent_sources import (
    InterpolatedLatents,
    RowLatents,
    SeedLatents,
    load_latents,
    slerp,
)


def test_seeds_give_their_latents_scaled() -> None:
    source = SeedLatents(0.5, [7, 3, 9], 16)
    assert [source.key(position) for position in range(3)] == [7, 3, 9]
    np.testing.assert_array_equal(
        source.latents([2, 0]), latents_from_seeds([9, 7], 16) * np.float32(0.5)
    )


def test_an_interpolation_passes_through_its_seeds_and_closes() -> None:
    source = InterpolatedLatents(1.0, [5, 6, 7], 16, 12)
    frames = source.latents(range(12))
    anchors = latents_from_seeds([5, 6, 7], 16)
    assert np.abs(frames[[0, 4, 8]] - anchors).max() < 1e-6
    steps = np.linalg.norm(np.diff(np.vstack([frames, frames[:1]]), axis=0), axis=1)
    assert steps.max() < 2 * steps.min()  # no jump, not even from the last frame to the first


def test_frames_between_seeds_are_evenly_spaced() -> None:
    source = InterpolatedLatents(1.0, [1, 2, 3], 8, 7)
    anchors = latents_from_seeds([1, 2, 3], 8)
    # Frame 5 of 7 is 15/7 of a leg: one seventh past the third seed, on the way to the first.
    assert np.abs(source.latents([5])[0] - slerp(anchors[2], anchors[0], 1 / 7)).max() < 1e-6


@given(st.permutations([-3.0, 0.5, 1.0, 2.5, 4.0]), st.floats(0, 1))
def test_slerp_of_equal_lengths_stays_on_the_sphere(values: list[float], part: float) -> None:
    start = np.array([-3.0, 0.5, 1.0, 2.5, 4.0], np.float32)
    middle = slerp(start, np.array(values, np.float32), part)
    assert abs(np.linalg.norm(middle) - np.linalg.norm(start)) < 1e-5


def test_slerp_follows_the_great_circle() -> None:
    east, north = np.array([2.0, 0], np.float32), np.array([0, 2.0], np.float32)
    assert np.abs(slerp(east, north, 0.5) - np.sqrt(2)).max() < 1e-6
    np.testing.assert_array_equal(slerp(east, north, 0), east)
    assert np.abs(slerp(east, north, 1) - north).max() < 1e-6


def test_opposite_latents_have_a_finite_middle() -> None:
    there = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(slerp(there, -there, 0.5), np.zeros(3, np.float32))
    np.testing.assert_array_equal(slerp(there * 0, there * 0, 0.5), np.zeros(3, np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_file_of_latents_gives_its_rows(tmp_path: Path, dtype: type) -> None:
    rows: np.ndarray = latents_from_seeds(range(5), 8).astype(dtype)
    np.save(tmp_path / "z.npy", rows)
    source = load_latents(tmp_path / "z.npy", 8, 1.0)
    assert len(source) == 5
    np.testing.assert_array_equal(source.latents([3, 1]), rows[[3, 1]].astype(np.float32))


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 4)])
def test_a_file_of_latents_may_have_the_shape_of_the_input(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    rows: np.ndarray = latents_from_seeds(range(5), 8)
    np.save(tmp_path / "z.npy", rows.reshape(5, *shape))
    source = SampleConfig(latents=tmp_path / "z.npy").source(8, (), shape)
    np.testing.assert_array_equal(source.latents([3, 1]), rows[[3, 1]])
    np.save(tmp_path / "z.npy", rows.reshape(5, 4, 2))
    axes = ", ".join(map(str, shape))
    with pytest.raises(UsageError, match=rf"takes float \[n, 8\] or \[n, {axes}\], n at least 1"):
        load_latents(tmp_path / "z.npy", 8, 1.0, shape)


def test_a_row_that_is_not_finite_is_named(tmp_path: Path) -> None:
    rows = latents_from_seeds(range(5), 8)
    rows[3, 2] = np.nan
    np.save(tmp_path / "z.npy", rows)
    source = load_latents(tmp_path / "z.npy", 8, 1.0)
    with pytest.raises(UsageError, match="row 3 of the latents"):
        source.latents(range(5))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no file of latents"),
        (b"", "no .npy file of numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "no .npy file of numbers"),
        (b"hello", "no .npy file of numbers"),
        (
            np.zeros((4, 7), np.float32),
            r"are float32 \[4, 7\]: this generator takes float \[n, 8\]",
        ),
        (np.zeros((4, 8), np.int64), r"are int64 \[4, 8\]"),
        (np.zeros((0, 8), np.float32), "n at least 1"),
        (np.zeros(8, np.float32), r"are float32 \[8\]"),
        (np.array([None]), "no .npy file of numbers"),
    ],
)
def test_a_bad_file_of_latents_ends_in_a_sentence(
    tmp_path: Path, content: bytes | np.ndarray | None, sentence: str
) -> None:
    path = tmp_path / "z.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(UsageError, match=sentence):
        load_latents(path, 8, 1.0)


def test_count_and_seed_choose_consecutive_seeds() -> None:
    source = SampleConfig(count=3, seed=10).source(8)
    assert [source.key(position) for position in range(len(source))] == [10, 11, 12]
    assert len(SampleConfig().source(8)) == 64


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 1, "seeds": "1"}, "-n and --seeds exclude each other"),
        ({"count": 1, "seed": 1, "seeds": "1"}, "-n and --seeds exclude each other"),
        ({"seed": 1, "seeds": "1"}, "--seed and --seeds exclude each other"),
        ({"seed": 1, "interpolate": "1"}, "--seed and --interpolate exclude each other"),
        ({"count": 1, "seed": 1, "latents": Path("z")}, "exclude each other"),
        ({"frames": 3}, "--frames requires --interpolate"),
        ({"interpolate": "1", "frames": 0}, "--frames 0 is not allowed"),
        ({"count": 0}, "-n 0 is not allowed"),
        ({"count": -5}, "-n -5 is not allowed"),
        ({"count": 2**32 + 1}, "-n 4294967297 is not allowed"),
        ({"seed": -1}, "--seed -1 is not allowed: it must be an integer from 0 to 4294967295"),
        ({"truncation": -1.0}, "truncation -1 is not allowed: .* a finite number from 0 to 100"),
        ({"truncation": float("nan")}, "truncation nan is not allowed: .* from 0 to 100"),
        ({"truncation": 101.0}, "truncation 101 is not allowed: .* from 0 to 100"),
    ],
)
def test_a_selection_that_is_not_allowed_is_named(
    options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        SampleConfig(**options)  # type: ignore[arg-type]


def test_a_truncation_beyond_the_latents_of_the_training_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for factor in (0.0, 0.7, 1.0, 1.3):
        SampleConfig(truncation=factor)
    assert not caplog.messages
    SampleConfig(truncation=5.0)
    assert "--truncation 5 scales the latents beyond those of the training" in caplog.text


@pytest.mark.parametrize(
    "options", [{"seed": 2**32}, {"seed": 2**32 - 1, "count": 2}, {"seed": -1}]
)
def test_seeds_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"seed -?\d+ is not allowed"):
        SampleConfig(**options).source(8)  # type: ignore[arg-type]


def test_numbers_beyond_float32_are_refused_without_a_warning() -> None:
    rows = RowLatents(1.0, np.array([[0.0, 1.0], [1e300, 0.0]]))
    with pytest.raises(UsageError, match="row 1 of the latents has a value that is not finite"):
        rows.latents(range(2))
    scaled = RowLatents(1e30, np.array([[1e30]], np.float32)).latents([0])
    assert np.isinf(scaled).all()  # refused where the model runs
