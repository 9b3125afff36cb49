"""Trackers, read back with the readers of TensorBoard and W&B."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.processes import environment, wgan_command
from wgan.errors import MissingExtra, UsageError
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.history import StepMetrics, numeric_metrics
from wgan.training.monitoring.trackers import Tracker, make_trackers

pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
pytest.importorskip("wandb", reason="the extra wandb is not installed")


def metrics(step: int, **changes: Any) -> StepMetrics:
    return StepMetrics(
        **{
            "step": step,
            "seconds_per_step": 0.5,
            "images_per_second": 8.0,
            "wasserstein": float(step),
            "critic_loss": -1.0,
            "generator_loss": 2.0,
            "critic_weights_gradient": 3.0,
            "generator_weights_gradient": 4.0,
            **changes,
        }
    )


def read_tensorboard(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def read_wandb(file: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format, a protobuf message each."""
    from wandb.proto import wandb_internal_pb2

    data, place, message = file.read_bytes(), 7, b""  # a header of 7 bytes
    block = 32768
    while place + 7 <= len(data):
        if block - place % block < 7:  # too little for another record: padding
            place += block - place % block
            continue
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        kind = data[place + 6]  # 1 whole, 2 first, 3 middle, 4 last
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(message)
            message = b""
            yield record


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 101 steps with every tracker; W&B looks at gradients at every 100th."""
    place = tmp_path_factory.mktemp("tracked")
    command = wgan_command(
        *("train", "--run", "run", "--no-cache", "--recipe", "article", "--n-critic", 1),
        *("--width", 2, "--latent-dim", 4, "--batch-size", 4, "--steps", 101),
        *("--log-every", 20, "--preview-every", 60, "--device", "cpu"),
        *("--tracker", "tensorboard", "--tracker", "wandb", "--tracker", "wandb"),
    )
    subprocess.run(
        command,
        cwd=place,
        env={**environment(), "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        check=True,
        timeout=240,
    )
    return place / "run"


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_tensorboard_has_every_metric_of_every_logged_step(trained: Path) -> None:
    events = read_tensorboard(trained / "tensorboard")
    lines = logged(trained)
    for name in ("wasserstein", "critic_weights_gradient", "memory_mib", "diversity"):
        expected = [(line["step"], line[name]) for line in lines if name in line]
        seen = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in seen] == [step for step, _ in expected]
        assert [value for _, value in seen] == pytest.approx([value for _, value in expected])
    assert [event.step for event in events.Images("preview")] == [60, 101]
    assert "diagnosis/batch-norm-under-penalty/text_summary" in events.Tags()["tensors"]


@pytest.mark.slow
def test_wandb_offline_has_the_metrics_and_watches_both_networks(trained: Path) -> None:
    (file,) = (trained / "wandb").glob("offline-run-*/*.wandb")
    rows: list[dict[str, Any]] = []
    for record in read_wandb(file):
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
    steps = [row["step"] for row in rows if "step" in row]
    assert steps == [line["step"] for line in logged(trained)]
    estimates = [row["wasserstein"] for row in rows if "wasserstein" in row]
    assert estimates == pytest.approx([line["wasserstein"] for line in logged(trained)])
    watched = " ".join(key for row in rows for key in row)
    assert "gradients/layers.0.weight" in watched  # the generator's
    assert "gradients/graph_1layers.0.weight" in watched  # the critic's
    assert sum(any(key.startswith("preview") for key in row) for row in rows) == 2


@pytest.mark.slow
def test_wandb_keeps_the_id_for_a_resumed_run(trained: Path) -> None:
    (file,) = (trained / "wandb").glob("offline-run-*/*.wandb")
    assert file.stem == f"run-{(trained / 'wandb-id').read_text().strip()}"


FAILED = """
from pathlib import Path
from torch import nn
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.monitoring.trackers import make_trackers
(tracker,) = make_trackers(["wandb"], Run(Path("run")), TrainConfig())
tracker.start(0, nn.Linear(1, 1), nn.Linear(1, 1))
tracker.close(failed=True)
"""


def exit_codes(run: Path) -> list[int]:
    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    records = [r for r in read_wandb(file) if r.WhichOneof("record_type") == "exit"]
    return [record.exit.exit_code for record in records]


@pytest.mark.slow
def test_wandb_records_whether_the_run_failed(trained: Path, tmp_path: Path) -> None:
    assert exit_codes(trained) == [0]
    (tmp_path / "run").mkdir()
    subprocess.run(
        [sys.executable, "-c", FAILED],
        cwd=tmp_path,
        env={**environment(), "WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        check=True,
        timeout=120,
    )
    assert exit_codes(tmp_path / "run") == [1]


def start(trackers: list[Tracker], step: int) -> Tracker:
    from torch import nn

    (tracker,) = trackers
    tracker.start(step, nn.Linear(1, 1), nn.Linear(1, 1))
    return tracker


def test_a_resumed_run_purges_repeated_steps_from_tensorboard(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first = start(make_trackers(["tensorboard"], run, TrainConfig()), 0)
    for step in (1, 2, 3, 4):
        first.log(metrics(step))
    first.close()
    second = start(make_trackers(["tensorboard"], run, TrainConfig()), 2)
    for step in (3, 4, 5):
        second.log(metrics(step, wasserstein=10.0 * step))
    second.show(5, np.zeros((8, 8, 1), np.uint8))
    second.close()
    events = read_tensorboard(tmp_path / "tensorboard")
    seen = {event.step: event.value for event in events.Scalars("wasserstein")}
    assert seen == {1: 1, 2: 2, 3: 30, 4: 40, 5: 50}
    assert len(events.Scalars("wasserstein")) == 5


def test_none_gives_no_tracker_and_nothing_is_opened_before_the_start(tmp_path: Path) -> None:
    assert make_trackers(["none"], Run(tmp_path), TrainConfig()) == []
    assert make_trackers([], Run(tmp_path), TrainConfig()) == []
    assert len(make_trackers(["tensorboard", "tensorboard"], Run(tmp_path), TrainConfig())) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["mlflow"], "--tracker mlflow is not one of tensorboard, wandb, none"),
        (["none", "wandb"], "--tracker none cannot be combined"),
    ],
)
def test_an_invalid_choice_of_trackers_is_refused(
    tmp_path: Path, names: list[str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_trackers(names, Run(tmp_path), TrainConfig())


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_tracker_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for module in list(sys.modules):
        if module.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    with pytest.raises(MissingExtra, match=rf"pip install 'wgan\[{name}\]'"):
        make_trackers([name], Run(tmp_path), TrainConfig())


def test_a_metric_that_a_step_does_not_have_is_not_logged() -> None:
    assert "held_out_score" not in numeric_metrics(metrics(1))
    assert numeric_metrics(metrics(1, held_out_score=0.0))["held_out_score"] == 0
