import dataclasses
import json
import statistics
from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import RunWgan
from tests.runtime import models
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.training.config import TrainConfig


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "g.onnx"
    export_checkpoint(trained_checkpoint(), ExportConfig(), path)
    return path


def test_bench_times_the_file_beside_pytorch(run_wgan: RunWgan, exported: Path) -> None:
    done = run_wgan("bench", exported, "--seconds", "0.01", "--batch-sizes", "1,4")
    assert (done.returncode, done.stderr) == (0, "")
    first, *rows = done.stdout.splitlines()
    assert first.startswith("CPUExecutionProvider, ")
    assert [row.split("images/s")[0].split()[1:3] for row in rows] == [
        [size, name]
        for size in ("1", "4")
        for name in ("CPUExecutionProvider", "PyTorch", "TorchScript,")
    ]


def test_bench_gives_each_run_its_median_and_spread_as_json(
    run_wgan: RunWgan, exported: Path
) -> None:
    done = run_wgan("bench", exported, "--seconds", "0.01", "--batch-sizes", "2", "--json")
    told = json.loads(done.stdout)
    assert told["threads"] >= 1
    assert {timing["batch_size"] for timing in told["timings"]} == {2}
    assert told["provider"] == "CPUExecutionProvider"
    for timing in told["timings"]:
        low, high = timing["quartiles_ms"]
        assert 0 < low <= timing["median_ms"] <= high
        assert timing["median_ms"] == pytest.approx(1000 * statistics.median(timing["seconds"]))
        assert timing["images_per_second"] == pytest.approx(2000 / timing["median_ms"])


def test_a_file_cannot_choose_which_code_runs(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef build(config): ...\n")
    config = dataclasses.asdict(dataclasses.replace(TrainConfig(), arch="evil:build"))
    model = models.generator(told=models.manifest(config=config))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    done = run_wgan("bench", "g.onnx", "--seconds", "0.01", "--batch-sizes", "1")
    assert done.returncode == 0
    assert "PyTorch is left out: the architecture evil:build" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_networks_of_another_project_have_no_pytorch_beside_them(
    run_wgan: RunWgan, tmp_path: Path
) -> None:
    model = models.generator(told=models.manifest(config={}, source="module"))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    done = run_wgan("bench", "g.onnx", "--seconds", "0.01", "--batch-sizes", "1")
    assert done.returncode == 0
    assert "PyTorch is left out: the networks of the file are not wgan's own" in done.stderr


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf"])
def test_a_time_that_is_not_allowed_is_told(
    run_wgan: RunWgan, exported: Path, seconds: str
) -> None:
    done = run_wgan("bench", exported, "--seconds", seconds)
    assert (done.returncode, f"--seconds {seconds} is not allowed" in done.stderr) == (2, True)


@pytest.mark.parametrize("sizes", ["0", "1,,2", "many", ""])
def test_batch_sizes_that_cannot_be_read_are_told(
    run_wgan: RunWgan, exported: Path, sizes: str
) -> None:
    done = run_wgan("bench", exported, "--batch-sizes", sizes)
    assert done.returncode == 2
    assert "--batch-sizes" in done.stderr


def test_a_folder_with_runs_and_no_export_is_told_to_export(
    run_wgan: RunWgan, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.json").write_text("{}")
    done = run_wgan("bench")
    assert done.returncode == 1
    assert "wgan export" in done.stderr
