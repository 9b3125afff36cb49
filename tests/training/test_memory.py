"""The memory estimate of a dry run, and the message when memory runs out."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.cli.test_train import make_folder
from tests.processes import RunWgan
from wgan.errors import OutOfMemory
from wgan.host import peak_memory
from wgan.training.config import TrainConfig
from wgan.training.memory import check_networks_fit, explain_oom, is_oom, step_memory
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")


@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
def test_networks_that_cannot_fit_are_refused_before_they_are_made(arch: str) -> None:
    config = TrainConfig(arch=arch, width=4096, size=128)
    before = peak_memory()
    with pytest.raises(OutOfMemory, match=r"--width 4096: these networks need [\d.]+ GB to train"):
        check_networks_fit(dataclasses.replace(config, latent_dim=65536), torch.device("cpu"))
    after = peak_memory()
    assert before is None or after is None or after - before < 2**28
    check_networks_fit(TrainConfig(arch=arch), torch.device("cpu"))


def estimate(**settings: object) -> int:
    config = TrainConfig.resolve({"n_critic": 1, **settings})
    state = TrainState(*build(config), config, CPU)
    before = state.rng.get_state()
    needed = step_memory(state, config)
    assert torch.equal(state.rng.get_state(), before), "the run's random state advanced"
    assert all(parameter.grad is None for parameter in state.critic.parameters())
    assert needed is not None
    return needed


def test_a_larger_batch_takes_more_memory_and_microbatches_take_less() -> None:
    small, large = estimate(batch_size=64), estimate(batch_size=256)
    assert 2 * small < large < 5 * small
    assert estimate(batch_size=256, accumulate=4) < large / 2


def test_the_estimate_includes_optimizers_and_gradients() -> None:
    config = TrainConfig(width=64, batch_size=1, n_critic=1)
    state = TrainState(*build(config), config, CPU)
    networks = (state.generator, state.critic)
    weights = sum(p.numel() * 4 for network in networks for p in network.parameters())
    assert estimate(width=64, batch_size=1) > 3 * weights  # Adam's two moments and a gradient


@pytest.mark.parametrize(
    "settings",
    [{"recipe": "resnet"}, {"constraint": "spectral"}, {"recipe": "article"}, {"holdout": 0.1}],
    ids=str,
)
def test_the_estimate_covers_each_architecture_and_constraint(settings: dict[str, object]) -> None:
    assert estimate(**settings, batch_size=4) > 0


def test_there_is_no_estimate_for_control_flow_that_depends_on_values() -> None:
    class DataDependent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: Tensor) -> Tensor:
            scores = images.flatten(1).mean(dim=1) * self.scale
            return scores if float(scores.mean()) > 0 else -scores

    config = TrainConfig(width=2)
    generator, _ = build(config)
    assert step_memory(TrainState(generator, DataDependent(), config, CPU), config) is None


@pytest.mark.slow
def test_the_estimate_of_a_dry_run_is_close_to_the_memory_of_the_run(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 64)
    command = ("train", "faces", "--run", "run", "--no-cache", "--device", "cpu", "--n-critic", 1,
               "--size", 64, "--width", 32, "--steps", 2)  # fmt: skip
    dry_run = run_wgan(*command, "--dry-run")
    assert dry_run.returncode == 0, dry_run.stderr
    (line,) = [line for line in dry_run.stdout.splitlines() if line.startswith("# memory")]
    estimated = float(line.split()[3].replace(",", ""))
    assert not (tmp_path / "run").exists()
    assert run_wgan(*command).returncode == 0
    logged = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0.75 < estimated / logged["memory_mib"] < 1.25


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"),
    ],
    ids=["python", "cuda", "mps", "cpu"],
)
def test_lack_of_memory_becomes_a_sentence_that_says_what_to_change(error: Exception) -> None:
    config = TrainConfig(batch_size=12)
    with (
        pytest.raises(
            OutOfMemory,
            match=r"out of memory on cpu: halve --batch-size \(to 6\) or use --accumulate 2, in",
        ),
        explain_oom(config, CPU),
    ):
        raise error


def test_pytorchs_own_error_is_recognised() -> None:
    with pytest.raises(OutOfMemory), explain_oom(TrainConfig(), CPU):
        torch.empty(2**60)  # more than any machine has


def test_other_errors_stay() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert not is_oom(error)
    with pytest.raises(RuntimeError, match="mat1"), explain_oom(TrainConfig(), CPU):
        raise error


def test_images_on_the_device_can_be_moved_to_host_memory() -> None:
    with (
        pytest.raises(OutOfMemory, match=r"in host memory with --data-on-device no$"),
        explain_oom(TrainConfig(), CPU, data_on_device=True),
    ):
        raise MemoryError


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "ranks"), [(512, 4, 1), (12, 3, 2), (9, 1, 3), (24, 2, 4)]
)
def test_the_suggested_settings_are_accepted(batch_size: int, accumulate: int, ranks: int) -> None:
    config = TrainConfig(batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(OutOfMemory) as raised, explain_oom(config, CPU, ranks):
        raise MemoryError
    named = re.search(r"--batch-size \(to (\d+)\) or use --accumulate (\d+)", str(raised.value))
    assert named is not None
    smaller, parts = map(int, named.groups())
    assert smaller < batch_size
    assert smaller % (accumulate * ranks) == 0
    assert parts > accumulate
    assert batch_size % (parts * ranks) == 0
    TrainConfig.resolve({"batch_size": smaller, "accumulate": accumulate})
    TrainConfig.resolve({"batch_size": batch_size, "accumulate": parts})


def test_a_batch_of_one_image_cannot_be_halved() -> None:
    with (
        pytest.raises(OutOfMemory, match="lower --width"),
        explain_oom(TrainConfig(batch_size=4, accumulate=2), CPU, ranks=2),
    ):
        raise MemoryError
