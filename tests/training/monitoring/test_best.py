"""The best checkpoint of a run that measures a metric while it trains."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.tiny_run import tiny_config
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.data import InMemoryDataset
from wgan.training.monitoring.best import Evaluator
from wgan.training.monitoring.previews import GenerateFn
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")


class ListedValues:
    """An evaluator that returns listed values, after it generated some images."""

    metric = "fid"

    def __init__(self, values: Sequence[float], key: str = "one way") -> None:
        self.key = key
        self._values: Iterator[float] = iter(values)
        self.seen: list[int] = []

    def __call__(self, generate: GenerateFn) -> float:
        self.seen.append(sum(len(pixels) for pixels in generate(range(5))))
        return next(self._values)


def train(folder: Path, judge: Evaluator | None, steps: int, **settings: Any) -> Trainer:
    pixels = np.random.RandomState(0).randint(0, 256, (10, 32, 32, 1)).astype(np.uint8)
    every = {"log_every": 100, "checkpoint_every": 2, "preview_every": 100}
    evaluated = 2 if judge else 0
    config = tiny_config(**{**every, "eval_every": evaluated, "steps": steps, **settings})
    data = InMemoryDataset.from_array(pixels)
    with Trainer(Run(folder), config, data, CPU, evaluator=judge) as trainer:
        list(trainer.train())
    return trainer


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def logged(folder: Path) -> dict[int, float]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["fid"] for line in lines if "fid" in line}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return Checkpoint.load(path).average


def test_the_best_checkpoint_stays_beside_the_newest(tmp_path: Path) -> None:
    judge = ListedValues([5.0, 3.0, 4.0, 3.0])
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


def test_measuring_a_metric_does_not_change_the_training(tmp_path: Path) -> None:
    train(tmp_path / "measured", ListedValues([1.0, 2.0, 3.0]), steps=6)
    train(tmp_path / "plain", None, steps=6)
    one, two = (weights(Run(tmp_path / name).checkpoint(6)) for name in ("measured", "plain"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_resumed_run_remembers_the_best(tmp_path: Path) -> None:
    run = train(tmp_path / "run", ListedValues([2.0, 1.0]), steps=4).run
    train(tmp_path / "run", ListedValues([1.5]), steps=6)
    assert Checkpoint.load(run.best).step == 4
    train(tmp_path / "run", ListedValues([0.5]), steps=8)
    assert Checkpoint.load(run.best).step == 8
    assert logged(run.path) == {2: 2.0, 4: 1.0, 6: 1.5, 8: 0.5}


def test_values_with_another_key_are_not_compared(tmp_path: Path) -> None:
    run = train(tmp_path / "run", ListedValues([2.0, 1.0]), steps=4).run
    train(tmp_path / "run", ListedValues([70.0], key="another way"), steps=6)
    assert Checkpoint.load(run.best).step == 6


@pytest.mark.parametrize("record", ["{", "[]", '{"step": Infinity, "metric": "fid", "value": 1}'])
def test_a_damaged_record_is_reported_and_the_search_starts_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, record: str
) -> None:
    run = train(tmp_path / "run", ListedValues([2.0, 1.0]), steps=4).run
    run.best_record.write_text(record)
    train(tmp_path / "run", ListedValues([9.0]), steps=6)
    assert "best.json cannot be read" in caplog.text
    assert Checkpoint.load(run.best).step == 6


def test_nan_is_reported_and_never_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = train(tmp_path / "run", ListedValues([float("nan"), 5.0, float("nan")]), steps=6)
    assert "the fid at step 2 is nan" in caplog.text
    assert Checkpoint.load(session.run.best).step == 4


def test_the_last_step_is_always_measured(tmp_path: Path) -> None:
    session = train(tmp_path / "run", ListedValues([2.0, 1.0]), steps=3)
    assert logged(session.run.path) == {2: 2.0, 3: 1.0}


class Failure(ListedValues):
    """An evaluator that fails."""

    def __call__(self, generate: GenerateFn) -> float:
        raise ValueError("no features")


def test_a_measurement_that_fails_loses_no_training(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    for step, every in ((2, 2), (4, 100)):  # with the checkpoint due, and without
        with pytest.raises(ValueError, match="no features"):
            train(run.path, Failure([]), steps=step + 1, checkpoint_every=every)
        assert Checkpoint.load(run.newest_checkpoint()).step == step
