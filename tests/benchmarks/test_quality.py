"""The figures of the scorecard on constructed cases, and its scripts from end to end."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality.gaussians import COMMON, Trial
from benchmarks.quality.large import Plan, report, run_plan, step_flops
from benchmarks.quality.mixtures import MIXTURES, Points, score
from benchmarks.quality.records import is_done, load_records, save_record, spread, write_block
from benchmarks.quality.stacked_mnist import coverage, stack
from tests.evaluation.networks import network, save
from tests.processes import ROOT, run
from wgan.errors import UsageError
from wgan.images import encode
from wgan.training.config import TrainConfig

GRID = MIXTURES["grid"]


def along_x(points: Points, sigmas: float) -> Points:
    """The points, moved by so many standard deviations."""
    return points + np.array([sigmas * GRID.sigma, 0], np.float32)


@pytest.mark.parametrize(("sigmas", "modes", "share"), [(2.9, 25, 1.0), (3.1, 0, 0.0)])
def test_a_point_counts_within_three_standard_deviations_of_a_centre(
    sigmas: float, modes: int, share: float
) -> None:
    found = score(along_x(GRID.centres, sigmas), GRID)
    assert (found.modes, found.high_quality) == (modes, share)


def test_a_mode_counts_when_one_good_point_is_nearest_to_it() -> None:
    far = along_x(GRID.centres[1:], 5)
    found = score(np.concatenate([GRID.centres[:2], far]), GRID)
    assert found.modes == 2
    assert found.high_quality == pytest.approx(2 / 26)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixtures_own_points_are_as_good_as_the_rayleigh_law_says(name: str) -> None:
    mixture = MIXTURES[name]
    found = score(mixture.sample(100_000, seed=1), mixture)
    assert found.modes == len(mixture.centres)
    assert found.high_quality == pytest.approx(mixture.ideal, abs=0.002)  # 6 standard errors


def trial(path: Path, steps: int) -> Trial:
    config = dataclasses.replace(COMMON, width=8, batch_size=16, steps=steps, decay_steps=8)
    return Trial(GRID, config, path)


def test_a_trial_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    trial(tmp_path / "stopped.pt", 3).run()
    resumed, whole = trial(tmp_path / "stopped.pt", 8), trial(tmp_path / "whole.pt", 8)
    assert resumed.step == 3
    assert resumed.run()["high_quality"] == whole.run()["high_quality"]
    for one, two in zip(
        resumed.players.average.parameters(), whole.players.average.parameters(), strict=True
    ):
        assert torch.equal(one, two)


def test_even_modes_have_no_divergence_and_a_single_one_has_the_most() -> None:
    even = coverage(np.repeat(np.arange(1000), 26))
    assert even.modes == 1000
    assert even.kl == pytest.approx(0, abs=1e-12)
    one = coverage(np.full(26_000, 7))
    assert one.modes == 1
    assert one.kl == pytest.approx(np.log(1000))


def test_each_digit_stands_once_in_each_colour() -> None:
    digits = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    stacked = stack(digits, seed=0)
    assert stacked.shape == (50, 1, 1, 3)
    assert all(sorted(stacked[..., colour].ravel()) == list(range(50)) for colour in range(3))
    assert not np.array_equal(stacked[..., 0], stacked[..., 1])


def test_only_the_named_block_of_a_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\n<!-- b -->\n<!-- /b -->\nafter\n")
    write_block(page, "a", "    new \\1\n")
    assert page.read_text() == (
        "before\n<!-- a -->\n\n    new \\1\n\n<!-- /a -->\n<!-- b -->\n<!-- /b -->\nafter\n"
    )
    with pytest.raises(UsageError, match="has no place for c"):
        write_block(page, "c", "")


def test_a_lone_value_is_not_given_a_spread() -> None:
    assert spread([1.0, 2.0], ".1f") == "1.5 (1.0 to 2.0)"
    assert spread([1.0], ".1f") == "1.0 (1 run)"


def script(name: str, *arguments: object) -> str:
    result = run([sys.executable, "-m", f"benchmarks.quality.{name}", *map(str, arguments)], ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    names = ("gaussians", "stacked-mnist", "fashion-mnist")
    path.write_text("".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in names))
    return path


def test_the_gaussians_run_to_a_table_and_a_image(tmp_path: Path, page: Path) -> None:
    image = tmp_path / "points.png"
    short = (tmp_path, "--seeds", 1, "--steps", 4, "--write", page, "--image", image)
    assert "grid-0: step 4" in script("gaussians", *short)
    assert "| grid: wgan, 1 run |" in page.read_text()
    assert "| grid: PacGAN4 | 24.8 of 25 | 93.6 |" in page.read_text()
    assert image.read_bytes().startswith(b"\x89PNG")
    assert len(load_records(tmp_path / "gaussians")) == 2
    assert "0: step" not in script("gaussians", *short), "what is there is not run again"


@pytest.mark.slow
def test_stacked_mnist_runs_to_a_table(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--steps", 2, "--scored", 40, "--digits", 200, "--write", page)
    script("stacked_mnist", tmp_path, "--data", real_data("mnist"), "--seeds", 1, *short)
    assert "| wgan, EMA, 1 run |" in page.read_text()


@pytest.mark.slow
def test_fashion_mnist_runs_to_tables_with_exports(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--images", 640, "--minutes", 0.01, "--scored", 40, "--first", 200)
    data = real_data("fashion-mnist")
    script("fashion_mnist", tmp_path, "--data", data, "--seeds", 1, *short, "--write", page)
    written = page.read_text()
    assert "| resnet |" in written
    assert "| ONNX, int8 |" in written


def test_large_trains_and_evaluates_by_the_commands_of_wgan(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        pixels = random.randint(0, 256, (32, 32, 3), dtype=np.uint8)
        (images / f"{number}.png").write_bytes(encode(pixels))
    features = save(network(shape=("n", 3, 32, 32)), tmp_path / "features.onnx")
    given = {"width": 4, "steps": 1, "batch_size": 4}
    plan = Plan(str(images), given, features=str(features))
    run_plan(plan, 0, tmp_path / "results", scored=10, device="cpu")
    (record,) = load_records(tmp_path / "results")
    assert record["fid"] > 0
    assert "| FID |" in report([record])


def test_a_steps_arithmetic_grows_with_its_critic_updates() -> None:
    def flops(n_critic: int) -> float:
        return step_flops(TrainConfig(width=4, n_critic=n_critic))

    one, two, three = map(flops, (1, 2, 3))
    assert three - two == two - one > 0


def test_records_of_other_settings_are_not_taken_into_a_table(tmp_path: Path) -> None:
    path = tmp_path / "run-0.json"
    assert not is_done(path, steps=5)
    save_record(path, {"steps": 5, "found": 1.0})
    assert is_done(path, steps=5)
    with pytest.raises(UsageError, match=r"run-0.json is of steps 5, not 6: name another folder"):
        is_done(path, steps=6)
