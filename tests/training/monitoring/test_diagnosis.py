"""Each diagnosis, of a small run or of made-up metrics."""

import itertools
import json
import logging
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.data.batches import Batch
from wgan.training.loop import train_steps
from wgan.training.monitoring.diagnosis import (
    diagnose,
    find_batch_norm,
    find_collapse,
    find_memorising,
    find_overfitting,
    find_weak_critic,
    novelty,
    spread,
    usual_distance,
)
from wgan.training.monitoring.history import History
from wgan.training.monitoring.monitor import Monitor
from wgan.training.monitoring.step_stats import HoldoutImages
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
SMALL = TrainConfig(
    arch="dcgan", channels=1, width=4, latent_dim=8, batch_size=8, n_critic=1, learning_rate=1e-3,
    decay_steps=0, log_every=5,
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path)
    run.make()
    return run


def images(count: int = 32) -> Any:
    return np.random.RandomState(0).randint(0, 256, (count, 32, 32, 1)).astype(np.uint8)


def train(
    run: Run,
    config: TrainConfig,
    steps: int = 110,
    generator: nn.Module | None = None,
    holdout: HoldoutImages | None = None,
    all_images: Any = None,
) -> dict[str, str]:
    """Train on bright images under a monitor; return its findings."""
    made, critic = build(config)
    state = TrainState(generator or made, critic, config, CPU)
    monitor = Monitor(run, config, state, images(), all_images, holdout)
    monitor.open(0)
    noise = torch.Generator().manual_seed(1)

    def next_batch() -> Tensor:
        if holdout is not None:
            chosen = torch.randint(len(holdout.train.images), (config.batch_size,), generator=noise)
            return holdout.train.images[chosen]
        return 1 - torch.rand(config.batch_size, 1, 32, 32, generator=noise)

    for step in itertools.islice(train_steps(state, next_batch, config), steps):
        due = step.number % config.log_every == 0
        monitor.log_step(step, log=due, preview=step.number % 50 == 0)
    monitor.close()
    return found(run)


def found(run: Run) -> dict[str, str]:
    """The findings in metrics.jsonl; fails if one was logged twice."""
    seen: dict[str, str] = {}
    for line in run.metrics.read_text().splitlines():
        new = json.loads(line).get("diagnosis", {})
        assert not new.keys() & seen.keys(), "logged twice"
        seen |= new
    return seen


def test_a_healthy_run_has_no_findings(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    assert train(run, SMALL) == {}
    assert caplog.text == ""


def test_a_critic_that_does_not_learn_is_too_weak(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        said = train(run, TrainConfig(**{**vars(SMALL), "learning_rate": 1e-8}))
    assert said.keys() == {"critic-too-weak"}
    assert "Raise --learning-rate, --n-critic or --width" in said["critic-too-weak"]
    assert caplog.text.count("the critic is too weak") == 1


def test_batch_norm_under_a_penalty_is_reported_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        said = train(run, TrainConfig(**{**vars(SMALL), "critic_norm": "batch"}), steps=15)
    assert said.keys() == {"batch-norm-under-penalty"}
    assert "--critic-norm layer" in said["batch-norm-under-penalty"]
    assert caplog.text.count("batch norm") == 1


def test_batch_norm_is_fine_without_a_penalty(run: Run) -> None:
    config = TrainConfig(**{**vars(SMALL), "critic_norm": "batch", "constraint": "clip"})
    assert train(run, config, steps=15) == {}


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(2), nn.BatchNorm1d(2), nn.SyncBatchNorm(2)])
def test_batch_norm_is_found_at_any_depth(norm: nn.Module) -> None:
    found = find_batch_norm(nn.Sequential(nn.Sequential(norm)))
    assert found.keys() == {"batch-norm-under-penalty"}
    assert not find_batch_norm(nn.Sequential(nn.GroupNorm(1, 2), nn.InstanceNorm2d(2)))


class OneImage(nn.Module):
    """A generator that ignores its latents."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(1, 1, 32, 32))

    def forward(self, latents: Tensor) -> Tensor:
        return self.image.tanh().expand(len(latents), -1, -1, -1)


def test_a_generator_that_makes_one_image_has_collapsed(run: Run) -> None:
    said = train(run, SMALL, steps=155, generator=OneImage())
    assert said.keys() == {"generator-collapsed"}
    assert "0.0%" in said["generator-collapsed"]


class Copies(nn.Module):
    """A generator that draws one of a few images for any latent, nearly."""

    def __init__(self, images: Tensor, blur: float) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.blur = blur

    def forward(self, latents: Tensor) -> Tensor:
        which = (latents[:, 0].abs() * 100).long() % len(self.images)
        return self.images[which] * (1 - self.blur) + self.blur * self.images.mean(dim=0)


@pytest.mark.parametrize(("blur", "is_found"), [(0.1, True), (0.9, False)])
def test_a_generator_that_copies_its_few_images_is_reported(
    run: Run, blur: float, is_found: bool
) -> None:
    few = images(8)
    batch = torch.from_numpy(few).permute(0, 3, 1, 2) / 127.5 - 1
    said = train(run, SMALL, steps=155, generator=Copies(batch, blur), all_images=few)
    assert ("generator-memorised" in said) == is_found
    if is_found:
        assert "--augment color,translation,cutout" in said["generator-memorised"]


def test_novelty_is_0_for_copies_and_1_for_other_images_of_the_same_kind() -> None:
    some = np.random.RandomState(0).randint(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    assert novelty(some[:5], some[:20]) < 0.01
    assert novelty(some[20:], some[:20]) == pytest.approx(1, abs=0.05)
    assert math.isnan(novelty(some, some[:1].repeat(4, axis=0))), "the images are all equal"
    assert not find_memorising(np.array([0.1, np.nan, 0.1]))
    assert find_memorising(np.array([0.9, 0.1, np.nan, 0.1, 0.1]))


@pytest.mark.slow
def test_a_critic_that_memorised_eight_images_overfits(run: Run) -> None:
    batch = torch.from_numpy(images(16)).permute(0, 3, 1, 2) / 127.5 - 1
    holdout = HoldoutImages(train=Batch(batch[:8]), holdout=Batch(batch[8:]))
    config = TrainConfig(**{**vars(SMALL), "n_critic": 4, "width": 8})
    assert train(run, config, steps=140, holdout=holdout).keys() == {"critic-overfits"}


def test_a_critic_that_meets_its_penalty_is_not_weak_however_small_the_estimate() -> None:
    estimates = np.full(30, 0.01)
    assert not find_weak_critic(estimates, np.full(20, 1.02), near_zero=0.5)
    swinging = np.tile([0.6, 1.2, 0.6, 1.1, 0.7, 0.8], 5)  # as the default recipe does at first
    assert not find_weak_critic(estimates, swinging, near_zero=0.5)
    assert find_weak_critic(estimates, swinging / 1.3, near_zero=0.5)
    assert find_weak_critic(estimates, np.full(20, 0.3), near_zero=0.5)


def test_a_run_that_converged_does_not_have_a_weak_critic() -> None:
    estimates = np.concatenate([np.full(15, 9.0), np.full(500, 0.1)])
    assert not find_weak_critic(estimates, np.full(20, 0.5), near_zero=0.5)


def test_without_a_penalty_a_critic_is_not_called_weak() -> None:
    assert not find_weak_critic(np.full(30, 0.01), np.full(20, np.nan), near_zero=0.5)


@pytest.mark.parametrize(
    ("trained", "unseen", "finds"), [(4.0, 3.5, False), (4.0, 1.5, True), (0.1, -0.1, False)]
)
def test_overfitting_is_a_gap_above_the_noise(trained: float, unseen: float, finds: bool) -> None:
    noise = np.random.RandomState(0).standard_normal(20) * 0.3
    assert bool(find_overfitting(trained + noise, unseen + noise)) == finds
    assert not find_overfitting(trained + noise, np.full(20, np.nan))


def test_a_collapse_takes_three_previews_in_a_row() -> None:
    nan = np.nan
    assert not find_collapse(np.array([0.5, nan, 0.01, nan, 0.01]))
    assert find_collapse(np.array([0.5, nan, 0.01, nan, 0.01, 0.02, nan]))
    assert not find_collapse(np.array([0.01, 0.01, 0.01, 0.4]))


def test_nothing_is_judged_before_the_run_is_old_enough() -> None:
    line = {"wasserstein": 0.0, "critic_gradient_norm": 0.1, "diversity": 0.0}
    young = History({"step": step, **line} for step in range(1, 100))
    old = History({"step": step, **line} for step in range(1, 101))
    critic = nn.Identity()
    assert diagnose(young, critic, penalty=True, values=1024) == {}
    both = {"critic-too-weak", "generator-collapsed"}
    assert diagnose(old, critic, penalty=True, values=1024).keys() == both
    # A norm of 1 is no aim of other penalties, such as R3GAN's.
    assert "critic-too-weak" in diagnose(old, critic, penalty=True, values=1024)
    assert "critic-too-weak" not in diagnose(old, critic, penalty=False, values=1024)


def test_spread_is_the_mean_deviation_of_a_pixel() -> None:
    alike = np.full((4, 2, 2, 1), 7, np.uint8)
    assert spread(alike) == 0
    alike[:2, 0, 0] = 17  # one pixel of four deviates by 5
    assert spread(alike) == pytest.approx(5 / 4)


def test_a_resumed_run_does_not_repeat_its_findings(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config = TrainConfig(**{**vars(SMALL), "critic_norm": "batch"})
    train(run, config, steps=5)
    state = TrainState(*build(config), config, CPU)
    monitor = Monitor(run, config, state, images())
    monitor.open(5)
    caplog.clear()
    steps = train_steps(state, lambda: torch.zeros(8, 1, 32, 32), config, start=5)
    monitor.log_step(next(steps), log=True, preview=False)
    assert found(run).keys() == {"batch-norm-under-penalty"}
    assert caplog.text == ""


def test_the_novelty_of_large_images_needs_little_memory() -> None:
    small = np.random.RandomState(0).randint(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    large = small.repeat(8, axis=1).repeat(8, axis=2)
    tracemalloc.start()
    usual = usual_distance(large[:20])
    found = novelty(large[20:], large[:20], usual)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == novelty(small[20:], small[:20])
    assert peak < large.nbytes / 4
