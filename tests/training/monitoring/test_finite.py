"""NaN and Inf: found, named, and never saved."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks.kill_and_resume import logged_steps
from tests.training.test_session import session
from wgan.errors import TrainingDiverged
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.loop import CriticLosses, Step, TrainState, train_steps
from wgan.training.monitoring.finite import (
    MOST_REMEMBERED,
    FiniteWatch,
    first_not_finite,
    parameter_gradient_norms,
)
from wgan.training.networks import build

CPU = torch.device("cpu")
TINY = TrainConfig(width=2, latent_dim=4, batch_size=4, n_critic=1)


def watched(spoil_at: int, spoil: str, steps: int) -> tuple[FiniteWatch, TrainState]:
    """Train some steps; at one of them something goes wrong."""
    players = TrainState(*build(TINY), TINY, CPU)
    watch = FiniteWatch(players)
    number = 0

    def next_batch() -> Tensor:
        nonlocal number
        number += 1
        batch = torch.zeros(4, 3, 32, 32)
        if number == spoil_at and spoil == "batch":
            batch[1, 0, 3, 3] = float("nan")
        if number == spoil_at and spoil == "weight":
            with torch.no_grad():
                next(players.generator.parameters())[0, 0] = float("inf")
        return batch

    for step in train_steps(players, next_batch, TINY):
        watch.remember(step)
        if step.number == steps:
            break
    return watch, players


@pytest.mark.parametrize("spoil", ["batch", "weight"])
def test_the_first_step_is_named_however_late_one_looks(spoil: str) -> None:
    watch, _ = watched(3, spoil, steps=7)
    with pytest.raises(TrainingDiverged, match="at step 3 the Wasserstein estimate is nan"):
        watch.check()


def test_a_gradient_that_overflows_is_named_though_the_loss_is_finite() -> None:
    players = TrainState(*build(TINY), TINY, CPU)
    watch = FiniteWatch(players)
    layer = players.critic.get_submodule("layers.2")
    weight = layer.get_parameter("weight")
    weight.register_hook(lambda gradient: gradient * float("inf"))
    watch.remember(next(train_steps(players, lambda: torch.zeros(4, 3, 32, 32), TINY)))
    with pytest.raises(TrainingDiverged, match=r"step 1 the gradient of critic\.layers\.2\.weight"):
        watch.check()


def test_weights_that_the_last_update_spoiled_are_found_before_they_are_saved() -> None:
    watch, players = watched(0, "", steps=2)
    watch.check()
    with torch.no_grad():
        players.average.get_parameter("layers.0.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"average\.layers\.0\.weight is not finite"):
        watch.check()


def test_a_healthy_run_is_left_alone() -> None:
    watch, _ = watched(0, "", steps=3)
    watch.check()
    watch.check()


def test_what_is_remembered_stays_small() -> None:
    players = TrainState(*build(TINY), TINY, CPU)
    watch = FiniteWatch(players)
    step = next(train_steps(players, lambda: torch.zeros(4, 3, 32, 32), TINY))
    for _ in range(MOST_REMEMBERED):
        assert not watch.full
        watch.remember(step)
    assert watch.full
    watch.check()
    assert not watch.full


def test_the_first_tensor_in_order_is_named() -> None:
    good, bad = torch.ones(3), torch.tensor([1.0, float("-inf")])
    tensors = [("a", good), ("n", torch.arange(3)), ("b", bad), ("c", bad)]
    assert first_not_finite(tensors) == "b"
    assert first_not_finite(tensors[:2]) is None
    assert first_not_finite([]) is None


def test_gradient_norms_are_those_of_each_parameter() -> None:
    players = TrainState(*build(TINY), TINY, CPU)
    loss = players.critic(torch.ones(2, 3, 32, 32)).sum()
    loss.backward()
    expected = [float(p.grad.square().sum().sqrt()) for p in players.critic.parameters()]  # type: ignore[union-attr]
    assert parameter_gradient_norms(players.critic).tolist() == pytest.approx(expected, rel=1e-5)
    assert not parameter_gradient_norms(players.generator).any()


def test_remembering_and_looking_read_nothing_from_the_device() -> None:
    """Fake tensors have no values: whatever waited for one would fail."""
    players = TrainState(*build(TINY), TINY, CPU)
    for parameter in (*players.critic.parameters(), *players.generator.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    with FakeTensorMode(allow_non_fake_inputs=True):
        value = torch.empty(())
        terms = CriticLosses(value, value, value, value)
        watch = FiniteWatch(players)
        watch.remember(Step(1, terms, value))
        look = watch.look()
        with pytest.raises(DataDependentOutputException):
            look.check()


def test_a_run_that_diverges_stops_in_a_sentence_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with session(steps=4, checkpoint_every=2, preview_every=100) as running:
        list(running.train())
    with session(steps=9, checkpoint_every=3, log_every=100, preview_every=100) as running:
        for group in running.players.critic_optimizer.param_groups:
            group["betas"] = (0.0, float("nan"))  # every weight is NaN after the next update
        with pytest.raises(TrainingDiverged, match=r"at step 5 .* is nan"):
            list(running.train())
    run = Run(Path("run"))
    assert [run.step_of(path) for path in run.checkpoints()] == [2, 4]
    assert first_not_finite(Checkpoint.load(run.checkpoint(4)).critic.items()) is None
    assert logged_steps(run.path) == [1, 2, 3, 4, 6]
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert "training diverged: at step" in last["diagnosis"]["not-finite"]
