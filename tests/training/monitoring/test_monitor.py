"""The monitor: a deferred one, as on a GPU, writes the same; the checkpoint comes first."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from wgan.errors import TrainingDiverged
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.loop import Step, train_steps
from wgan.training.monitoring.history import StepMetrics
from wgan.training.monitoring.monitor import Monitor
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
TINY = TrainConfig(
    recipe="wgan-gp", arch="dcgan", learning_rate=2e-4, width=2, latent_dim=4, batch_size=4,
    n_critic=1, channels=1,
)  # fmt: skip
MEASURED = {"seconds_per_step", "images_per_second", "memory_mib"}


def monitor_run(folder: Path, deferred: bool, nan_at: int = 0) -> list[StepMetrics | None]:
    """Train seven steps: log every other, preview at the fourth, check the fifth."""
    run = Run(folder)
    run.make()
    state = TrainState(*build(TINY), TINY, CPU)
    pixels = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 1)).astype(np.uint8)
    monitor = Monitor(run, TINY, state, pixels, deferred=deferred)
    monitor.open(0)

    def next_batch() -> Tensor:
        batch = torch.ones(4, 1, 32, 32)
        return batch * float("nan") if next(drawn) == nan_at else batch

    drawn = itertools.count(1)
    logged = [
        monitor.log_step(
            step,
            log=step.number % 2 == 0,
            preview=step.number == 4,
            save=(lambda: None) if step.number == 5 else None,
        )
        for step in itertools.islice(train_steps(state, next_batch, TINY), 7)
    ]
    monitor.flush(7)
    monitor.close()
    return logged


def lines(folder: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in parsed]


def steps(logged: list[StepMetrics | None]) -> list[int | None]:
    return [None if metrics is None else metrics.step for metrics in logged]


def test_a_deferred_monitor_writes_the_same_metrics(tmp_path: Path) -> None:
    prompt = monitor_run(tmp_path / "prompt", deferred=False)
    deferred = monitor_run(tmp_path / "deferred", deferred=True)
    assert steps(prompt) == [None, 2, None, 4, None, 6, None]
    assert steps(deferred) == [None, None, 2, 4, None, None, 6]  # a preview is not deferred
    assert lines(tmp_path / "prompt") == lines(tmp_path / "deferred")


def test_a_deferred_monitor_names_the_step_of_a_nan(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="at step 6 the Wasserstein estimate is nan"):
        monitor_run(tmp_path, deferred=True, nan_at=6)
    last = lines(tmp_path)[-1]
    assert last["step"] == 6
    assert "at step 6" in last["diagnosis"]["not-finite"]


def open_monitor(run: Run) -> tuple[Monitor, Iterator[Step], TrainState]:
    run.make()
    state = TrainState(*build(TINY), TINY, CPU)
    pixels = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 1)).astype(np.uint8)
    monitor = Monitor(run, TINY, state, pixels)
    monitor.open(0)
    return monitor, train_steps(state, lambda: torch.ones(4, 1, 32, 32), TINY), state


def test_the_checkpoint_is_written_before_anything_is_measured_or_drawn(tmp_path: Path) -> None:
    run = Run(tmp_path)
    monitor, steps, state = open_monitor(run)
    happened: list[str] = []
    state.generator_ema.register_forward_pre_hook(lambda *_: happened.append("drawn"))

    def save() -> None:
        happened.append("saved")
        assert [line["step"] for line in lines(tmp_path)] == [1]  # a checkpoint finds its line

    def evaluate(step: int) -> dict[str, float]:
        happened.append("measured")
        return {"fid": 7.0}

    monitor.log_step(next(steps), log=True, preview=True, save=save, evaluate=evaluate)
    assert happened == ["saved", "measured", "drawn"]
    (line,) = lines(tmp_path)
    assert line["fid"] == 7.0
    assert line["diversity"] > 0
    assert run.preview(1).exists()
    assert run.curves.exists()


def test_a_line_whose_completion_was_prevented_stays_whole(tmp_path: Path) -> None:
    monitor, steps, _ = open_monitor(Run(tmp_path))

    def evaluate(step: int) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        monitor.log_step(next(steps), log=True, preview=True, save=lambda: None, evaluate=evaluate)
    monitor.log_step(next(steps), log=True, preview=False)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_an_image_that_cannot_be_written_never_ends_a_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    for path in (run.reals, run.curves, run.preview(1)):
        path.mkdir(parents=True)
    monitor, steps, _ = open_monitor(run)
    monitor.log_step(next(steps), log=True, preview=True)
    for name in ("reals.png", "curves.png", "step-00000001.png"):
        assert f"{name} cannot be drawn, training continues: cannot write" in caplog.text
    assert lines(tmp_path)[0]["diversity"] > 0


def test_an_image_that_cannot_be_drawn_never_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise ValueError("no such backend")

    run = Run(tmp_path)
    monitor, steps, state = open_monitor(run)
    state.generator_ema.register_forward_pre_hook(fail)
    monkeypatch.setattr("wgan.training.monitoring.monitor.draw_curves", fail)
    monitor.log_step(next(steps), log=True, preview=True)
    for name in ("curves.png", "step-00000001.png"):
        assert f"{name} cannot be drawn, training continues: no such backend" in caplog.text
    assert "diversity" not in lines(tmp_path)[0]


def test_a_divergence_says_whether_a_checkpoint_is_kept(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match=r"is nan; nothing is saved\. Lower --learning-rate"):
        monitor_run(tmp_path / "new", deferred=False, nan_at=1)
    run = Run(tmp_path / "saved")
    run.make()
    run.checkpoint(1).touch()
    with pytest.raises(TrainingDiverged, match=r"is nan; the last checkpoint is kept\. Lower"):
        monitor_run(run.path, deferred=False, nan_at=1)


def test_real_images_are_shown_as_the_critic_sees_them(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.make()
    pixels = np.random.RandomState(0).randint(0, 256, (100, 32, 32, 1)).astype(np.uint8)
    Monitor(run, TINY, TrainState(*build(TINY), TINY, CPU), pixels).open(0)
    with Image.open(run.reals) as image:
        shown = np.asarray(image)
    assert shown.shape == (8 * 32, 8 * 32)
    assert np.array_equal(shown[:32, :32], pixels[0, :, :, 0])
    assert np.array_equal(shown[-32:, -32:], pixels[63 * 100 // 64, :, :, 0])
