"""The numbers of a step; NaN and Inf are found, named and never saved."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks.kill_and_resume import logged_steps
from tests.training.test_trainer import make_trainer
from wgan.errors import TrainingDiverged
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.loop import CriticLosses, Step, train_steps
from wgan.training.monitoring.step_stats import MAX_ROWS, StepStats, gradient_norms_of
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
TINY = TrainConfig(width=2, latent_dim=4, batch_size=4, n_critic=1)


def recorded(spoil_at: int, spoil: str, steps: int) -> tuple[StepStats, TrainState]:
    """Record some steps; one of them gets a NaN or an Inf."""
    state = TrainState(*build(TINY), TINY, CPU)
    stats = StepStats(state)
    number = 0

    def next_batch() -> Tensor:
        nonlocal number
        number += 1
        batch = torch.zeros(4, 3, 32, 32)
        if number == spoil_at and spoil == "batch":
            batch[1, 0, 3, 3] = float("nan")
        if number == spoil_at and spoil == "weight":
            with torch.no_grad():
                next(state.generator.parameters())[0, 0] = float("inf")
        return batch

    for step in train_steps(state, next_batch, TINY):
        stats.record(step)
        if step.number == steps:
            break
    return stats, state


@pytest.mark.parametrize("spoil", ["batch", "weight"])
def test_the_first_step_with_a_nan_is_named_after_later_steps(spoil: str) -> None:
    stats, _ = recorded(3, spoil, steps=7)
    with pytest.raises(TrainingDiverged, match="at step 3 the Wasserstein estimate is nan"):
        stats.copy().check_finite()


def test_a_gradient_that_overflows_is_named_though_the_loss_is_finite() -> None:
    state = TrainState(*build(TINY), TINY, CPU)
    stats = StepStats(state)
    layer = state.critic.get_submodule("layers.2")
    weight = layer.get_parameter("weight")
    weight.register_hook(lambda gradient: gradient * float("inf"))
    stats.record(next(train_steps(state, lambda: torch.zeros(4, 3, 32, 32), TINY)))
    with pytest.raises(TrainingDiverged, match=r"step 1 the gradient of critic\.layers\.2\.weight"):
        stats.copy().check_finite()


def test_weights_that_the_last_update_broke_are_found_before_they_are_saved() -> None:
    stats, state = recorded(0, "", steps=2)
    stats.copy().check_finite()
    with torch.no_grad():
        state.generator_ema.get_parameter("layers.0.weight")[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingDiverged, match=r"generator_ema\.layers\.0\.weight is not finite"):
        stats.copy().check_finite()


def test_finite_numbers_pass() -> None:
    stats, _ = recorded(0, "", steps=3)
    stats.copy().check_finite()
    stats.copy().check_finite()


def test_rows_are_bounded() -> None:
    state = TrainState(*build(TINY), TINY, CPU)
    stats = StepStats(state)
    step = next(train_steps(state, lambda: torch.zeros(4, 3, 32, 32), TINY))
    for _ in range(MAX_ROWS):
        assert not stats.is_full
        stats.record(step)
    assert stats.is_full
    stats.copy().check_finite()
    assert not stats.is_full


def test_the_copy_holds_the_numbers_of_the_last_step() -> None:
    state = TrainState(*build(TINY), TINY, CPU)
    stats = StepStats(state)
    steps = train_steps(state, lambda: torch.zeros(4, 3, 32, 32), TINY)
    for _ in range(2):
        step = next(steps)
        stats.record(step)
    copied = stats.copy(torch.tensor([1.5, 2.5]))

    losses = step.critic
    assert copied.losses == tuple(
        map(float, (losses.wasserstein, losses.gradient_norm, losses.gradient_penalty,
                    losses.loss, step.generator_loss))
    )  # fmt: skip
    networks = state.critic, state.generator
    for network, norm in zip(networks, copied.gradient_norms, strict=True):
        whole = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        assert norm == pytest.approx(float(whole.norm()), rel=1e-5)
    assert copied.scores == [1.5, 2.5]


def test_gradient_norms_are_those_of_each_parameter() -> None:
    state = TrainState(*build(TINY), TINY, CPU)
    loss = state.critic(torch.ones(2, 3, 32, 32)).sum()
    loss.backward()
    expected = [float(p.grad.square().sum().sqrt()) for p in state.critic.parameters()]  # type: ignore[union-attr]
    assert gradient_norms_of(state.critic).tolist() == pytest.approx(expected, rel=1e-5)
    assert not gradient_norms_of(state.generator).any()


def test_recording_and_copying_do_not_wait_for_the_device() -> None:
    """Fake tensors have no values: code that waits for one fails."""
    state = TrainState(*build(TINY), TINY, CPU)
    for parameter in (*state.critic.parameters(), *state.generator.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    with FakeTensorMode(allow_non_fake_inputs=True):
        value = torch.empty(())
        terms = CriticLosses(value, value, value, value)
        stats = StepStats(state)
        stats.record(Step(1, terms, value))
        copied = stats.copy()
        with pytest.raises(DataDependentOutputException):
            copied.check_finite()


def test_a_diverged_run_stops_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with make_trainer(steps=4, checkpoint_every=2, preview_every=100) as running:
        list(running.train())
    with make_trainer(steps=9, checkpoint_every=3, log_every=100, preview_every=100) as running:
        (group,) = running.state.critic_optimizer.param_groups
        group["weight_decay"] = float("nan")  # every weight is NaN after the next update
        with pytest.raises(TrainingDiverged, match=r"at step 5 .* is nan"):
            list(running.train())
    run = Run(Path("run"))
    assert [run.step_of(path) for path in run.checkpoints()] == [2, 4]
    assert all(w.isfinite().all() for w in Checkpoint.load(run.checkpoint(4)).critic.values())
    assert logged_steps(run.path) == [1, 2, 3, 4, 6]
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert "training diverged: at step" in last["diagnosis"]["not-finite"]
