"""A journal that is a step late, as on a GPU, tells the same as one that waits."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wgan.errors import TrainingDiverged
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.loop import TrainState, train_steps
from wgan.training.monitoring.metrics import Metrics
from wgan.training.monitoring.monitor import Monitor
from wgan.training.networks import build

CPU = torch.device("cpu")
TINY = TrainConfig(width=2, latent_dim=4, batch_size=4, n_critic=1, channels=1)
MEASURED = {"seconds_per_step", "images_per_second", "memory_mib"}


def keep_journal(folder: Path, late: bool, spoilt: int = 0) -> list[Metrics | None]:
    """Train seven steps: log every other, draw at the fourth, save after the fifth."""
    run = Run(folder)
    run.make()
    players = TrainState(*build(TINY), TINY, CPU)
    pixels = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 1)).astype(np.uint8)
    journal = Monitor(run, TINY, players, pixels, late=late)
    journal.open(0)

    def next_batch() -> Tensor:
        batch = torch.ones(4, 1, 32, 32)
        return batch * float("nan") if next(drawn) == spoilt else batch

    drawn = itertools.count(1)
    noted = [
        journal.note(
            step, log=step.number % 2 == 0, preview=step.number == 4, save=step.number == 5
        )
        for step in itertools.islice(train_steps(players, next_batch, TINY), 7)
    ]
    journal.check(7)
    journal.close()
    return noted


def lines(folder: Path) -> list[dict[str, Any]]:
    parsed = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in MEASURED} for line in parsed]


def steps(noted: list[Metrics | None]) -> list[int | None]:
    return [None if metrics is None else metrics.step for metrics in noted]


def test_figures_that_come_a_step_late_are_the_same(tmp_path: Path) -> None:
    prompt = keep_journal(tmp_path / "prompt", late=False)
    late = keep_journal(tmp_path / "late", late=True)
    assert steps(prompt) == [None, 2, None, 4, None, 6, None]
    assert steps(late) == [None, None, 2, 4, None, None, 6]  # a preview waits: it is drawn then
    assert lines(tmp_path / "prompt") == lines(tmp_path / "late")


def test_what_is_not_finite_is_named_by_its_step_however_late(tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="at step 6 the Wasserstein estimate is nan"):
        keep_journal(tmp_path, late=True, spoilt=6)
    last = lines(tmp_path)[-1]
    assert last["step"] == 6
    assert "at step 6" in last["diagnosis"]["not-finite"]
