"""A run that follows a metric: what it keeps, and that it stays the same run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset
from wgan.training.data.dataset import pixels_sha256
from wgan.training.data.sources.source import ArraySource
from wgan.training.monitoring.best import Judge
from wgan.training.monitoring.previews import Draw
from wgan.training.session import Plan, Session

CPU = torch.device("cpu")


class Scripted:
    """A judge that gives values of a list, and looks at some images as a real one does."""

    metric = "fid"

    def __init__(self, values: Sequence[float], key: str = "first way") -> None:
        self.key = key
        self._values: Iterator[float] = iter(values)
        self.seen: list[int] = []

    def __call__(self, draw: Draw) -> float:
        self.seen.append(sum(len(pixels) for pixels in draw(range(5))))
        return next(self._values)


def train(folder: Path, judge: Judge | None, steps: int, **settings: Any) -> Session:
    pixels = np.random.RandomState(0).randint(0, 256, (10, 32, 32, 1)).astype(np.uint8)
    config = TrainConfig.resolve(
        {
            "data": "noise",
            "channels": 1,
            "width": 2,
            "latent_dim": 4,
            "batch_size": 4,
            "n_critic": 2,
            "log_every": 100,
            "checkpoint_every": 2,
            "preview_every": 100,
            "eval_every": 2 if judge else 0,
            "steps": steps,
            **settings,
        }
    )
    plan = Plan(Run(folder), config, ArraySource("noise", pixels[:, :, :, 0]), resumes=False)
    data = InMemoryDataset(pixels, [], pixels_sha256(pixels))
    with Session(plan, data, CPU, judge=judge) as session:
        list(session.train())
    return session


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def logged(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["fid"] for line in lines if "fid" in line}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(path).average


def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path) -> None:
    judge = Scripted([5.0, 3.0, 4.0, 3.0])
    session = train(tmp_path / "run", judge, steps=8, keep=1)
    run = session.run
    assert judge.seen == [5, 5, 5, 5]
    assert logged(run.path) == {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.0}
    assert Checkpoint.load(run.best).step == 4
    assert [run.step_of(path) for path in run.checkpoints()] == [8]
    assert session.best is not None
    assert (session.best.step, session.best.value) == (4, 3.0)
    assert json.loads(run.best_record.read_text())["value"] == 3.0
    assert run.find_checkpoint("best") == run.best
    assert run.find_checkpoint("latest") == run.checkpoint(8)


def test_following_a_metric_changes_nothing_of_a_run(tmp_path: Path) -> None:
    train(tmp_path / "followed", Scripted([1.0, 2.0, 3.0]), steps=6)
    train(tmp_path / "alone", None, steps=6)
    one, two = (weights(Run(tmp_path / name).checkpoint(6)) for name in ("followed", "alone"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_best_outlives_a_resume(tmp_path: Path) -> None:
    run = train(tmp_path / "run", Scripted([2.0, 1.0]), steps=4).run
    train(tmp_path / "run", Scripted([1.5]), steps=6)
    assert Checkpoint.load(run.best).step == 4
    train(tmp_path / "run", Scripted([0.5]), steps=8)
    assert Checkpoint.load(run.best).step == 8
    assert logged(run.path) == {2: 2.0, 4: 1.0, 6: 1.5, 8: 0.5}


def test_values_that_were_measured_in_another_way_are_not_compared(tmp_path: Path) -> None:
    run = train(tmp_path / "run", Scripted([2.0, 1.0]), steps=4).run
    train(tmp_path / "run", Scripted([70.0], key="another way"), steps=6)
    assert Checkpoint.load(run.best).step == 6


def test_a_record_that_cannot_be_read_is_named_and_the_best_sought_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(tmp_path / "run", Scripted([2.0, 1.0]), steps=4).run
    run.best_record.write_text("{")
    train(tmp_path / "run", Scripted([9.0]), steps=6)
    assert "best.json cannot be read" in caplog.text
    assert Checkpoint.load(run.best).step == 6


def test_a_value_that_is_no_number_is_told_and_never_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = train(tmp_path / "run", Scripted([float("nan"), 5.0, float("nan")]), steps=6)
    assert "the fid at step 2 is nan" in caplog.text
    assert Checkpoint.load(session.run.best).step == 4


def test_the_last_step_is_judged_whatever_its_number(tmp_path: Path) -> None:
    session = train(tmp_path / "run", Scripted([2.0, 1.0]), steps=3)
    assert logged(session.run.path) == {2: 2.0, 3: 1.0}
