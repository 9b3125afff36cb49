"""Training for a given time: what is chosen, and how it keeps to the time."""

import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.training.tiny_run import tiny_config
from wgan.errors import UsageError
from wgan.options import read_toml, to_toml
from wgan.runs import Run
from wgan.training import time_budget
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset
from wgan.training.monitoring import monitor
from wgan.training.time_budget import ENOUGH_STEPS, SHARE, plan, replan
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")


def steps_take(monkeypatch: pytest.MonkeyPatch, seconds_at_16: float) -> None:
    """A step takes this long at width 16 and batch 64; four times as long at twice the width."""

    def measure(config: TrainConfig, *_: object) -> float:
        return seconds_at_16 * (config.width / 16) ** 2 * config.batch_size / 64

    monkeypatch.setattr(time_budget, "measure_step", measure)


def test_the_widest_networks_are_chosen_for_which_enough_steps_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 0.01
    steps_take(monkeypatch, seconds)
    minutes = ENOUGH_STEPS * 4.5 * seconds / SHARE / 60  # 4.5 times as many steps at width 16
    chosen = plan(TrainConfig(minutes=minutes), CPU, given=())
    assert chosen.width == 32
    assert chosen.batch_size == 64
    assert chosen.steps == int(SHARE * 60 * minutes / (4 * seconds))


def test_the_time_fits_even_if_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    steps_take(monkeypatch, 1.0)
    chosen = plan(TrainConfig(minutes=4), CPU, given=())
    assert chosen.width == 16
    assert chosen.batch_size < 64
    assert chosen.steps * chosen.batch_size / 64 <= SHARE * 60 * 4


def test_what_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    steps_take(monkeypatch, 1.0)
    given = {"width": 48, "batch_size": 32}
    chosen = plan(TrainConfig(minutes=4, width=48, batch_size=32), CPU, given)
    assert (chosen.width, chosen.batch_size) == (48, 32)


def test_too_little_time_for_a_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    steps_take(monkeypatch, 100.0)
    with pytest.raises(UsageError, match=r"--minutes 0\.01: a step takes .* s here"):
        plan(TrainConfig(minutes=0.01, width=16, batch_size=64), CPU, ("width", "batch_size"))


def test_the_number_of_steps_follows_the_time_that_is_left() -> None:
    config = TrainConfig(minutes=10, steps=1000)
    assert replan(config, step=100, seconds=60, seconds_per_step=0.6) is config  # as planned
    assert replan(config, step=100, seconds=120, seconds_per_step=1.2).steps == 100 + 400
    assert replan(config, step=500, seconds=700, seconds_per_step=1.2).steps == 501  # over time


def timed_run(folder: Path, minutes: float) -> Trainer:
    """A run that would take days without its time limit."""
    config = tiny_config(steps=10**6, log_every=2, checkpoint_every=10**6)
    noise = np.random.RandomState(0).randint(0, 256, (10, 32, 32, 1)).astype(np.uint8)
    images = InMemoryDataset.from_array(noise)
    return Trainer(Run(folder), dataclasses.replace(config, minutes=minutes), images, CPU)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock of the training that advances by 0.1 s each time it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(monitor, "time", SimpleNamespace(perf_counter=lambda: next(ticks) / 10))


@pytest.mark.usefixtures("clock")
def test_a_run_ends_after_its_minutes_and_keeps_its_number_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = timed_run(tmp_path / "run", minutes=2 / 60)
    for _ in trainer.train():
        pass
    saved = json.loads(trainer.run.config.read_text())
    assert saved["steps"] == trainer.step < 10**6
    assert trainer.run.checkpoints()[-1].name == f"step-{trainer.step:08d}.pt"
    assert trainer.run.preview(trainer.step).is_file()

    again = Trainer(trainer.run, TrainConfig(**saved), trainer.data, CPU)
    assert sum(1 for _ in again.train()) <= 1, "its time is over, and it trained on"


@pytest.mark.usefixtures("clock")
def test_longer_minutes_continue_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = timed_run(tmp_path / "run", minutes=1 / 60)
    for _ in first.train():
        pass
    saved = TrainConfig.from_json(first.run.config.read_text(), "config")
    longer = Trainer(first.run, saved.resume({"minutes": 2 / 60}), first.data, CPU)
    for _ in longer.train():
        pass
    assert longer.step > first.step + 1


def test_steps_end_the_limit_of_minutes() -> None:
    planned = TrainConfig(minutes=10, steps=504)
    longer = planned.resume({"steps": 600})
    assert (longer.steps, longer.minutes) == (600, 0)
    assert planned.resume({"minutes": 20}).minutes == 20
    assert planned.resume({}) == planned


def test_minutes_and_steps_exclude_each_other() -> None:
    both = {"minutes": 10.0, "steps": 600}
    for resolve in (TrainConfig.resolve, TrainConfig(minutes=10).resume):
        with pytest.raises(UsageError, match="--minutes sets --steps: give one of them"):
            resolve(both)
    assert TrainConfig.resolve({**both, "minutes": 0}).steps == 600


def test_a_plan_that_a_dry_run_prints_can_be_run(tmp_path: Path) -> None:
    planned = TrainConfig(minutes=10, steps=504)
    (tmp_path / "run.toml").write_text(to_toml(planned, ["steps"]))
    given = read_toml(tmp_path / "run.toml", TrainConfig)
    assert TrainConfig.resolve(given).minutes == 10
    assert "steps" not in given
