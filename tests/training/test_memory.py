"""The memory that a dry run promises, against what a run takes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.cli.test_train import make_folder
from tests.processes import RunWgan
from wgan.training.config import TrainConfig
from wgan.training.memory import step_memory
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")


def estimate(**settings: object) -> int:
    config = TrainConfig.resolve({"n_critic": 1, **settings})
    players = TrainState(*build(config), config, CPU)
    before = players.rng.get_state()
    needed = step_memory(players, config)
    assert torch.equal(players.rng.get_state(), before), "the run's noise was used up"
    assert all(parameter.grad is None for parameter in players.critic.parameters())
    assert needed is not None
    return needed


def test_a_larger_batch_takes_more_and_parts_of_it_less() -> None:
    small, large = estimate(batch_size=64), estimate(batch_size=256)
    assert 2 * small < large < 5 * small
    assert estimate(batch_size=256, accumulate=4) < large / 2


def test_optimisers_and_gradients_count() -> None:
    config = TrainConfig(width=64, batch_size=1, n_critic=1)
    players = TrainState(*build(config), config, CPU)
    networks = (players.generator, players.critic)
    weights = sum(p.numel() * 4 for network in networks for p in network.parameters())
    assert estimate(width=64, batch_size=1) > 3 * weights  # Adam's two averages, a gradient


@pytest.mark.parametrize(
    "settings",
    [{"recipe": "resnet"}, {"constraint": "spectral"}, {"recipe": "article"}, {"holdout": 0.1}],
    ids=str,
)
def test_every_kind_of_network_and_constraint_can_be_followed(settings: dict[str, object]) -> None:
    assert estimate(**settings, batch_size=4) > 0


def test_a_network_whose_way_depends_on_values_cannot_be_told() -> None:
    class Choosy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, images: Tensor) -> Tensor:
            scores = images.flatten(1).mean(dim=1) * self.scale
            return scores if float(scores.mean()) > 0 else -scores

    config = TrainConfig(width=2)
    generator, _ = build(config)
    assert step_memory(TrainState(generator, Choosy(), config, CPU), config) is None


@pytest.mark.slow
def test_a_dry_runs_memory_is_about_what_the_run_takes(tmp_path: Path, run_wgan: RunWgan) -> None:
    make_folder(tmp_path / "faces", 64)
    command = ("train", "faces", "--run", "run", "--no-cache", "--device", "cpu", "--n-critic", 1,
               "--size", 64, "--width", 32, "--steps", 2)  # fmt: skip
    told = run_wgan(*command, "--dry-run")
    assert told.returncode == 0, told.stderr
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("memory")]
    promised = float(line.split()[2].replace(",", ""))
    assert not (tmp_path / "run").exists()
    assert run_wgan(*command).returncode == 0
    taken = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0.75 < promised / taken["memory_mib"] < 1.25
