"""The scores of the quality benchmarks on constructed cases, and the scripts end to end."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.quality import conditional, few_images, photographs
from benchmarks.quality.first_minutes import checkerboard
from benchmarks.quality.gaussians import COMMON, GaussianRun
from benchmarks.quality.large import LargeRun, report, run_plan, step_flops
from benchmarks.quality.mixtures import MIXTURES, Points, score
from benchmarks.quality.records import is_done, load_records, publish, save_record, spread
from benchmarks.quality.stacked_mnist import coverage, stack
from tests.evaluation.networks import network, save
from tests.processes import ROOT, run_module
from wgan.errors import UsageError
from wgan.images import encode
from wgan.training.config import TrainConfig

GRID = MIXTURES["grid"]


def along_x(points: Points, sigmas: float) -> Points:
    """Move points by some standard deviations."""
    return points + np.array([sigmas * GRID.sigma, 0], np.float32)


@pytest.mark.parametrize(("sigmas", "modes", "share"), [(2.9, 25, 1.0), (3.1, 0, 0.0)])
def test_a_point_counts_within_three_standard_deviations_of_a_centre(
    sigmas: float, modes: int, share: float
) -> None:
    found = score(along_x(GRID.centres, sigmas), GRID)
    assert (found.modes, found.high_quality) == (modes, share)


def test_a_mode_counts_with_one_point_of_high_quality() -> None:
    far = along_x(GRID.centres[1:], 5)
    found = score(np.concatenate([GRID.centres[:2], far]), GRID)
    assert found.modes == 2
    assert found.high_quality == pytest.approx(2 / 26)


@pytest.mark.parametrize("name", MIXTURES)
def test_points_of_a_mixture_have_the_quality_of_the_rayleigh_distribution(name: str) -> None:
    mixture = MIXTURES[name]
    found = score(mixture.sample(100_000, seed=1), mixture)
    assert found.modes == len(mixture.centres)
    assert found.high_quality == pytest.approx(mixture.ideal, abs=0.002)  # 6 standard errors


def gaussian_run(path: Path, steps: int) -> GaussianRun:
    config = dataclasses.replace(COMMON, width=8, batch_size=16, steps=steps, decay_steps=8)
    return GaussianRun(GRID, config, path)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    gaussian_run(tmp_path / "stopped.pt", 3).run()
    resumed, whole = (
        gaussian_run(tmp_path / "stopped.pt", 8),
        gaussian_run(tmp_path / "whole.pt", 8),
    )
    assert resumed.step == 3
    assert resumed.run()["high_quality"] == whole.run()["high_quality"]
    pair = resumed.state.generator_ema.parameters(), whole.state.generator_ema.parameters()
    for one, two in zip(*pair, strict=True):
        assert torch.equal(one, two)


def test_uniform_modes_have_no_divergence_and_a_single_mode_has_the_most() -> None:
    even = coverage(np.repeat(np.arange(1000), 26))
    assert even.modes == 1000
    assert even.kl == pytest.approx(0, abs=1e-12)
    one = coverage(np.full(26_000, 7))
    assert one.modes == 1
    assert one.kl == pytest.approx(np.log(1000))


def test_each_digit_appears_once_in_each_colour() -> None:
    digits = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    stacked = stack(digits, seed=0)
    assert stacked.shape == (50, 1, 1, 3)
    assert all(sorted(stacked[..., colour].ravel()) == list(range(50)) for colour in range(3))
    assert not np.array_equal(stacked[..., 0], stacked[..., 1])


def test_only_the_named_block_of_a_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    a, b = (f"<!-- benchmarks/quality/{name}.py -->" for name in "ab")
    page.write_text(f"before\n{a}\nold\n<!-- end -->\n{b}\nkept\n<!-- end -->\nafter\n")
    publish("    new \\1\n", "a", page)
    assert page.read_text() == (
        f"before\n{a}\n\n    new \\1\n\n<!-- end -->\n{b}\nkept\n<!-- end -->\nafter\n"
    )
    with pytest.raises(SystemExit, match=r"has no <!-- benchmarks/quality/c\.py -->"):
        publish("", "c", page)


def test_a_single_value_has_no_spread() -> None:
    assert spread([1.0, 2.0], ".1f") == "1.5 (1.0 to 2.0)"
    assert spread([1.0], ".1f") == "1.0 (1 run)"


def script(name: str, *arguments: object) -> str:
    result = run_module(f"benchmarks.quality.{name}", *arguments, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    names = (
        "gaussians",
        "stacked_mnist",
        "fashion_mnist",
        "first_minutes",
        "settings",
        "conditional",
        "installed",
    )
    marks = (f"<!-- benchmarks/quality/{name}.py -->\n<!-- end -->\n" for name in names)
    path.write_text("".join(marks))
    return path


def test_gaussians_writes_a_table_and_an_image(tmp_path: Path, page: Path) -> None:
    image = tmp_path / "points.png"
    short = (tmp_path, "--seeds", 1, "--steps", 4, "--write", page, "--image", image)
    assert "grid-0: step 4" in script("gaussians", *short)
    assert "| grid: wgan, 1 run |" in page.read_text()
    assert "| grid: PacGAN4 | 24.8 of 25 | 93.6 |" in page.read_text()
    assert image.read_bytes().startswith(b"\x89PNG")
    assert len(load_records(tmp_path / "gaussians")) == 2
    assert "0: step" not in script("gaussians", *short), "existing runs are not repeated"


@pytest.mark.slow
def test_stacked_mnist_writes_a_table(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--steps", 2, "--scored", 40, "--digits", 200, "--write", page)
    script("stacked_mnist", tmp_path, "--data", real_data("mnist"), "--seeds", 1, *short)
    assert "| wgan, EMA, 1 run |" in page.read_text()


@pytest.mark.slow
def test_fashion_mnist_writes_tables_with_exports(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--images", 640, "--minutes", 0.01, "--scored", 40, "--first", 200)
    data = real_data("fashion-mnist")
    script("fashion_mnist", tmp_path, "--data", data, "--seeds", 1, *short, "--write", page)
    written = page.read_text()
    assert "| resnet |" in written
    assert "| ONNX, int8 |" in written


def test_the_first_minutes_have_a_row_for_each_recipe_and_a_sheet_for_each_run(
    tmp_path: Path, page: Path
) -> None:
    short = ("--cpu-seconds", 0.1, "--count", 400, "--scored", 64, "--only", "tuned")
    few = (tmp_path, "--set", "letters", "--seeds", 1, *short, "--write", page)
    assert "tuned, seed 0" in script("first_minutes", *few)
    assert "| tuned | 1 |" in page.read_text()
    folder = tmp_path / "first-minutes" / "letters"
    assert (folder / "tuned-0.png").read_bytes().startswith(b"\x89PNG")
    assert "seed 0: Milestone" not in script("first_minutes", *few), (
        "existing runs are not repeated"
    )


def test_a_changed_setting_has_a_row(tmp_path: Path, page: Path) -> None:
    short = ("--cpu-seconds", 0.1, "--count", 400, "--scored", 64, "--only", "beta2 0.99")
    assert "beta2 0.99, seed 0" in script(
        "settings", tmp_path, "--seeds", 1, *short, "--write", page
    )
    assert "| beta2 0.99 | 1 |" in page.read_text()


@pytest.mark.slow
def test_a_conditional_run_and_an_unconditional_one_have_a_row_each(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--cpu-seconds", 0.1, "--count", 500, "--scored", 100, "--seeds", 1)
    data = real_data("fashion-mnist").parent
    few = (tmp_path, "--data", data, "--set", "fashion-mnist", *short, "--write", page)
    printed = script("conditional", *few)
    assert "conditional, seed 0: Milestone" in printed
    assert "\nunconditional, seed 0: Milestone" in printed
    assert "| conditional | 1 |" in page.read_text()
    assert "| unconditional | 1 |" in page.read_text()
    sheet = tmp_path / "conditional" / "fashion-mnist" / "conditional-0.png"
    assert sheet.read_bytes().startswith(b"\x89PNG")
    assert "seed 0: Milestone" not in script("conditional", *few)


@pytest.mark.slow
def test_the_installed_generator_draws_most_classes_that_are_asked_for(
    tmp_path: Path, page: Path, real_data: Callable[[str], Path]
) -> None:
    short = ("--count", 2000, "--scored", 200)
    data = real_data("fashion-mnist")
    script("installed", tmp_path, "--data", data, *short, "--write", page)
    (row,) = [line for line in page.read_text().splitlines() if line.startswith("| 40,000 | 0.9 |")]
    assert float(row.split("|")[4]) > 50  # of 10 classes


def test_a_sheet_of_classes_has_a_class_in_each_row() -> None:
    labels = np.arange(40) % 4
    images = np.full((40, 1, 32, 32), -1, np.float32) + labels[:, None, None, None] * 0.5
    rows = conditional.sheet(images.astype(np.float32), classes=4)
    assert rows.shape == (4 * 32, 8 * 32, 1)
    assert [int(rows[32 * k : 32 * (k + 1)].max()) for k in range(4)] == [0, 64, 128, 191]
    assert [int(rows[32 * k : 32 * (k + 1)].min()) for k in range(4)] == [0, 64, 128, 191]


def test_a_checkerboard_is_measured_and_flat_images_have_none() -> None:
    flat = np.full((2, 3, 8, 8), 0.5, np.float32)
    board = np.indices((8, 8)).sum(axis=0) % 2 * 2.0 - 1
    assert checkerboard(flat) == 0
    assert checkerboard(flat * board.astype(np.float32)) == pytest.approx(0.5)


def test_photographs_have_a_row_for_each_run_and_curves() -> None:
    measured = [
        {"step": step, "cpu_minutes": minutes, "fid": fid, "precision": 0.5, "recall": 0.25}
        for step, minutes, fid in ((100, 10.2, 90.0), (300, 28.9, 70.0), (600, 60.0, 60.5))
    ]
    record = {"data": "emoji", "recipe": "tuned", "cpu_minutes": 60, "width": 32,
              "measured": measured, "steps": 600, "machine": "a machine", "scored": 10}  # fmt: skip
    row = "| emoji: tuned, width 32 | 90.0 | 70.0 | 60.5 | 60.5 | 60.0 | 600 | 0.50 | 0.25 |"
    assert row in photographs.report([record])
    assert photographs.draw_curves([record]).startswith(b"\x89PNG")
    assert photographs.report([]) == "Nothing has been measured yet."


def test_runs_on_few_photographs_have_a_row_each() -> None:
    record = {"name": "100-augmented", "images": 100, "fid": 70.25, "precision": 0.5, "recall": 0,
              "novelty": 0.98, "step": 1200, "cpu_minutes": 10.01, "scored": 10,
              "machine": "a machine"}  # fmt: skip
    row = "| 100 | augmented | 70.2 | 0.50 | 0.00 | 0.98 | 1,200 | 10.0 |"
    before = {**record, "name": few_images.BEFORE}
    report = few_images.report([record, before])
    assert row in report
    assert "the run on CIFAR-10" not in report
    assert few_images.report([]) == "Nothing has been measured yet."


@pytest.mark.slow
def test_a_run_on_few_photographs_is_trained_and_evaluated(
    tmp_path: Path, real_data: Callable[[str], Path]
) -> None:
    data = real_data("flowers").parent
    short = ("--cpu-minutes", 0.01, "--scored", 10, "--seeds", 1, "--only", "100-augmented")
    script("few_images", tmp_path, "--data", data, *short)
    (record,) = load_records(tmp_path / "few_images")
    assert record["images"] == 100
    assert record["fid"] > 0
    assert record["novelty"] > 0


def test_large_trains_and_evaluates_with_the_commands_of_wgan(tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(12):
        pixels = random.randint(0, 256, (32, 32, 3), dtype=np.uint8)
        (images / f"{number}.png").write_bytes(encode(pixels))
    features = save(network(shape=("n", 3, 32, 32)), tmp_path / "features.onnx")
    given = {"width": 4, "steps": 1, "batch_size": 4}
    plan = LargeRun(str(images), given, features=str(features))
    run_plan(plan, 0, tmp_path / "results", scored=10, device="cpu")
    (record,) = load_records(tmp_path / "results")
    assert record["fid"] > 0
    assert "| FID |" in report([record])


def test_the_operations_of_a_step_grow_with_its_critic_updates() -> None:
    def flops(n_critic: int) -> float:
        return step_flops(TrainConfig(width=4, n_critic=n_critic))

    one, two, three = map(flops, (1, 2, 3))
    assert three - two == two - one > 0


def test_records_with_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run-0.json"
    assert not is_done(path, steps=5)
    save_record(path, {"steps": 5, "found": 1.0})
    assert is_done(path, steps=5)
    with pytest.raises(UsageError, match=r"run-0.json has steps 5, not 6: name another folder"):
        is_done(path, steps=6)
