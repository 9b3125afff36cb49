"""Runs and exports of wgan 0.1.0 still open, resume and give the same images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.processes import RunWgan
from wgan.runtime import Generator

V010 = Path(__file__).parent / "data" / "v0.1.0"
"""`wgan train --width 2 --latent-dim 8 --batch-size 16 --channels 1 --steps 4`, and its exports."""

ONNX_FILES = ("generator.onnx", "generator-fp16.onnx", "generator-int8.onnx")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run in `runs/run` of `tmp_path`."""
    return Path(shutil.copytree(V010 / "run", tmp_path / "runs" / "run"))


def test_a_run_of_0_1_0_resumes_to_the_weights_that_0_1_0_trained(
    run: Path, run_wgan: RunWgan
) -> None:
    last = run / "checkpoints" / "step-00000004.pt"
    expected = torch.load(last, weights_only=True)
    last.unlink()

    finished = run_wgan("train", "--run", "runs/run", "--device", "cpu")

    assert finished.returncode == 0, finished.stderr
    resumed = torch.load(last, weights_only=True)
    assert resumed["step"] == 4
    for part in ("generator", "critic", "average"):
        for name, tensor in expected[part].items():
            torch.testing.assert_close(resumed[part][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_finished_run_of_0_1_0_trains_on(run: Path, run_wgan: RunWgan) -> None:
    finished = run_wgan("train", "--run", "runs/run", "--steps", 5, "--device", "cpu")

    assert finished.returncode == 0, finished.stderr
    assert (run / "checkpoints" / "step-00000005.pt").is_file()
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 5]


def test_a_checkpoint_of_0_1_0_exports_to_the_images_that_0_1_0_exported(
    run: Path, run_wgan: RunWgan, tmp_path: Path
) -> None:
    finished = run_wgan("export", "runs/run", "--format", "onnx", "-o", "new.onnx")

    assert finished.returncode == 0, finished.stderr
    assert run
    with Generator(tmp_path / "new.onnx") as generator:
        drawn = generator.sample(range(4)).astype(int)
    assert np.abs(drawn - np.load(V010 / "seeds-0-3.npy")).max() <= 1


@pytest.mark.parametrize("name", ONNX_FILES)
def test_an_onnx_file_of_0_1_0_is_still_proved(name: str, run_wgan: RunWgan) -> None:
    finished = run_wgan("verify", V010 / name)

    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("name", ["generator.ts", "generator.pt2"])
def test_archives_of_0_1_0_are_still_described(name: str, run_wgan: RunWgan) -> None:
    finished = run_wgan("info", V010 / name, "--json")

    assert finished.returncode == 0, finished.stderr


def test_an_onnx_file_of_0_1_0_gives_the_same_images() -> None:
    with Generator(V010 / "generator.onnx") as generator:
        drawn = generator.sample(range(4)).astype(int)
    assert np.abs(drawn - np.load(V010 / "seeds-0-3.npy")).max() <= 1
