"""metrics.jsonl and its columns in memory."""

import json
import math
import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.monitoring.test_trackers import metrics
from wgan.errors import OutputError
from wgan.host import MIB, peak_memory, resident_memory
from wgan.training.device import peak_device_memory
from wgan.training.monitoring.history import History, append_metrics, rewind_metrics


def test_a_line_holds_only_the_metrics_that_a_step_has(tmp_path: Path) -> None:
    append_metrics(tmp_path / "m", metrics(3, diversity=0.5, diagnosis={"a": "b"}))
    line = json.loads((tmp_path / "m").read_text())
    assert line["diversity"] == 0.5
    assert line["diagnosis"] == {"a": "b"}
    assert "held_out_score" not in line


def test_a_number_that_is_not_finite_is_null_and_read_as_nan(tmp_path: Path) -> None:
    append_metrics(tmp_path / "m", metrics(3, wasserstein=math.inf))
    assert "Infinity" not in (tmp_path / "m").read_text()
    history = History(rewind_metrics(tmp_path / "m", 3))
    assert np.isnan(history.column("wasserstein")).all()


@pytest.mark.parametrize(
    "rest",
    [
        *("", '{"step": 3', '{"step": 3}', "nonsense\n", "[]\n", '{"step": null}\n', "\0\0\0"),
        *('{"step": true}\n', '{"step": -1}\n', '{"step": 1, "wasserstein": "low"}\n'),
        *('{"step": 1, "diagnosis": [[]]}\n', '{"step": 1, "fid": 1' + "0" * 400 + "}\n"),
        '{"step": 1, "fid": ' + "[" * 100_000 + "\n",
    ],
)
def test_damaged_lines_and_later_steps_are_removed(tmp_path: Path, rest: str) -> None:
    for step in (1, 2, 3, 4):
        append_metrics(tmp_path / "m", metrics(step))
    with (tmp_path / "m").open("a") as file:
        file.write(rest)
    assert [line["step"] for line in rewind_metrics(tmp_path / "m", 2)] == [1, 2]
    assert len((tmp_path / "m").read_text().splitlines()) == 2


def test_a_history_read_from_the_file_equals_the_logged_one(tmp_path: Path) -> None:
    logged = History()
    for step in (1, 2, 3):
        append_metrics(tmp_path / "m", metrics(step, diversity=0.5 if step == 2 else None))
        logged.add(metrics(step, diversity=0.5 if step == 2 else None))
    read = History(rewind_metrics(tmp_path / "m", 3))
    assert read.steps.tolist() == logged.steps.tolist() == [1, 2, 3]
    for name in ("wasserstein", "diversity"):
        assert np.array_equal(read.column(name), logged.column(name), equal_nan=True)
    assert read.column("wasserstein", last=2).tolist() == [2, 3]
    assert len(read) == 3


def test_the_train_score_of_0_1_0_is_read_by_its_old_name(tmp_path: Path) -> None:
    (tmp_path / "m").write_text('{"step": 1, "learned_score": 2.5}\n')
    assert History(rewind_metrics(tmp_path / "m", 1)).column("train_score").tolist() == [2.5]


def test_metrics_that_cannot_be_written_raise_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*: Is a directory"):
        append_metrics(tmp_path, metrics(1))


def test_memory_is_that_of_this_process() -> None:
    before, peak = resident_memory(), peak_memory()
    assert before is not None
    assert peak is not None
    with mmap.mmap(-1, 64 * MIB) as held:  # pages of its own, where malloc may have some left
        held.write(bytes([1]) * len(held))
        after = resident_memory()
    assert after is not None
    assert after - before > 0.9 * 64 * MIB
    # Linux counts each to within some pages of every thread.
    assert (peak_memory() or 0) > after - MIB > before > 50 * MIB
    assert peak_device_memory(torch.device("cpu")) is None
