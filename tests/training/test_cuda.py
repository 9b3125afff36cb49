"""Training on a GPU. `make bench-gpu` runs these tests too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.test_fast_path import CONDITIONAL, batches, configuration
from tests.training.test_trainer import equal, images, state
from wgan.errors import OutOfMemory
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import CapturedStep, CUDARecorder
from wgan.training.data import Batch, InMemoryDataset
from wgan.training.device import tf32_mode
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState
from wgan.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Use deterministic kernels: two runs are compared bit for bit."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def train(
    config: TrainConfig, device: torch.device, steps: int, capture: bool = False
) -> tuple[list[list[float]], dict[str, Tensor]]:
    """Return the losses of each step, and the weights after the last."""
    state = TrainState(*build(config), config, device)
    captured = CapturedStep(CUDARecorder(state)) if capture else None
    draw = batches(config)
    losses = []
    with tf32_mode(config.precision):
        for step in train_steps(state, lambda: moved(draw(), device), config, step_fn=captured):
            terms = step.critic
            values = (terms.wasserstein, terms.gradient_penalty, step.generator_loss)
            losses.append([float(value.detach()) for value in values])
            if step.number == steps:
                break
    return losses, {name: value.cpu() for name, value in state.generator_ema.state_dict().items()}


def moved(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(values.to(device) for values in batch.inputs))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"recipe": "article"}, {"recipe": "wgan-clip"}, {"constraint": "spectral"},
     {"accumulate": 2, "gp_every": 2, "decay_steps": 20}, {"arch": "resnet", "width": 8},
     CONDITIONAL],
    ids=str,
)  # fmt: skip
def test_a_captured_step_is_the_same_bit_for_bit(settings: dict[str, Any], precision: str) -> None:
    config = configuration(precision=precision, **settings)
    taken, captured = (train(config, CUDA, 8, capture) for capture in (False, True))
    assert captured[0] == taken[0]
    assert all(torch.equal(captured[1][name], taken[1][name]) for name in taken[1])


def test_in_fp32_a_gpu_gives_the_cpus_gradients() -> None:
    config = configuration(precision="fp32", width=8)
    found = []
    for device in (torch.device("cpu"), CUDA):
        state = TrainState(*build(config), config, device)
        with tf32_mode("fp32"):
            images = batches(config)().images.to(device)
            scores = state.critic(images)
            scores.square().mean().backward()
        gradients = [parameter.grad for parameter in state.critic.parameters()]
        found.append(torch.cat([g.cpu().flatten() for g in gradients if g is not None]))
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 1e-4


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 0.02), ("bf16", 0.1)])
def test_lower_precision_gives_similar_losses(precision: str, tolerance: float) -> None:
    exact, _ = train(configuration(precision="fp32", width=8), CUDA, 3)
    found, _ = train(configuration(precision=precision, width=8), CUDA, 3)
    for mine, expected in zip(found, exact, strict=True):
        assert mine == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_stopped_run_with_a_cuda_graph_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(folder: str, steps: int) -> None:
        given = {
            "data": "noise",
            "channels": 1,
            "width": 4,
            "batch_size": 4,
            "precision": precision,
        }
        config = TrainConfig.resolve({**given, "checkpoint_every": 100, "steps": steps})
        trainer = Trainer(
            Run(Path(folder)), config, images(), CUDA, cuda_graph="yes", data_on_device="yes"
        )
        with trainer:
            list(trainer.train())

    run("once", 20)
    run("twice", 9)
    run("twice", 20)
    assert equal(state("once", 20), state("twice", 20))


def test_batches_from_images_on_the_gpu_equal_those_from_the_host() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (10, 8, 8, 3)).astype(np.uint8)
    here, there = (
        InMemoryDataset(pixels, [], "").batches(4, 0, CUDA, flip=True, on_device=on_device)
        for on_device in (False, True)
    )
    for _ in range(5):
        assert torch.equal(here.next(), there.next())


def test_a_batch_that_does_not_fit_into_gpu_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig.resolve(
        {"data": "noise", "channels": 1, "width": 64, "batch_size": 10, "steps": 1}
    )
    run = Run(Path("run"))
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction(300 * 2**20 / total)
    try:
        with Trainer(run, config, images(), CUDA) as trainer, pytest.raises(OutOfMemory):
            list(trainer.train())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
