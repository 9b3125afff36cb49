"""Compiled gradients are those of the plain loop."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from tests.processes import RunWgan
from tests.training.test_fast_path import CPU, batches, configuration, largest_difference, weights
from tests.training.test_session import Ending
from wgan.errors import DeviceError, UsageError
from wgan.training.compiled import CompiledGradients, Operations, compile_operations
from wgan.training.config import TrainConfig
from wgan.training.device import check_compile
from wgan.training.loop import TrainState, differentiate, train_steps
from wgan.training.networks import build

STEPS = 4

Compiler = Callable[[GraphModule], Operations]

EVERYTHING: list[dict[str, Any]] = [
    {},
    {"recipe": "article"},
    {"recipe": "wgan-clip"},
    {"constraint": "spectral"},
    {"constraint": "one-sided", "drift": 0.001, "critic_norm": "layer"},
    {"accumulate": 2, "gp_every": 2},
    {"arch": "resnet", "width": 4},
    {"precision": "bf16"},
]


def as_traced(operations: GraphModule) -> Operations:
    """No compiler: the operations one after another."""
    return operations


def train(
    config: TrainConfig, compiler: Compiler | None = None
) -> tuple[list[list[float]], dict[str, Tensor]]:
    networks = build(config)
    gradients = CompiledGradients(*networks, compiler) if compiler else differentiate
    players = TrainState(*networks, config, CPU, differentiate=gradients)
    figures = []
    for step in train_steps(players, batches(config), config):
        figures.append([float(value) for value in (*step.critic, step.generator_loss)])
        if step.number == STEPS:
            break
    changed = {"c": players.critic, "g": players.generator, "a": players.average}
    buffers = {
        f"{player}.{name}": buffer.double()
        for player, network in changed.items()
        for name, buffer in network.named_buffers()
    }
    return figures, {**weights(changed), **buffers}


@pytest.mark.parametrize("settings", EVERYTHING, ids=str)
def test_what_is_traced_is_what_the_loop_does_bit_for_bit(settings: dict[str, Any]) -> None:
    config = configuration(**settings)
    traced, taken = train(config, as_traced), train(config)
    assert traced[0] == taken[0]
    assert largest_difference(traced[1], taken[1]) == 0


def test_gradients_in_another_layout_are_brought_into_the_weights_own() -> None:
    def contiguous(operations: GraphModule) -> Operations:
        return lambda state, inputs: [each.contiguous() for each in operations(state, inputs)]

    config = configuration(width=4)
    traced, taken = train(config, contiguous), train(config)
    assert largest_difference(traced[1], taken[1]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("double_precision", "compiler")
def test_compiled_gradients_give_the_plain_loops_losses_and_weights() -> None:
    config = configuration()
    compiled, taken = train(config, compile_operations), train(config)
    for mine, expected in zip(compiled[0], taken[0], strict=True):
        assert mine == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert largest_difference(compiled[1], taken[1]) < 1e-7


class ByValue(nn.Module):
    """A critic that looks at its images before it decides what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = images.flatten(1).mean(1) * self.weight
        return scores if bool(scores.mean() > 0) else -scores


def test_networks_that_choose_by_values_are_refused() -> None:
    config = configuration()
    generator, _ = build(config)
    critic = ByValue()
    gradients = CompiledGradients(generator, critic, as_traced)
    players = TrainState(generator, critic, config, CPU, differentiate=gradients)
    with pytest.raises(UsageError, match=r"cannot be compiled.*leave --compile out"):
        next(train_steps(players, batches(config), config))


class Twins(nn.Module):
    """A critic of two weights with the same gradient, which PyTorch hands out once for both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = images.flatten(1).mean(1) * (self.one + self.two)
        return scores


def test_parts_of_a_batch_add_up_where_two_weights_share_a_gradient() -> None:
    config = configuration(accumulate=2, constraint="spectral")
    found = []
    for compiles in (True, False):
        (generator, _), critic = build(config), Twins()
        gradients = CompiledGradients(generator, critic, as_traced) if compiles else differentiate
        players = TrainState(generator, critic, config, CPU, differentiate=gradients)
        next(train_steps(players, batches(config), config))
        assert critic.one.grad is not None
        found.append(critic.one.grad)
    assert torch.equal(*found)


class Counting(Twins):
    """A critic that makes a new tensor of its buffer."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen = self.seen + 1
        return super().forward(images)


def test_networks_that_replace_their_buffers_are_refused() -> None:
    config = configuration()
    (generator, _), critic = build(config), Counting()
    gradients = CompiledGradients(generator, critic, as_traced)
    players = TrainState(generator, critic, config, CPU, differentiate=gradients)
    with pytest.raises(UsageError, match=r"in the place of critic\.seen\): .*leave --compile out"):
        next(train_steps(players, batches(config), config))


def test_a_first_run_that_does_not_fit_into_memory_is_no_missing_compiler() -> None:
    def too_large(operations: GraphModule) -> Operations:
        del operations
        return lambda state, inputs: [torch.empty(2**60)]

    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        train(configuration(), too_large)


def test_an_error_of_the_first_run_says_what_is_missing_and_a_later_one_stays_what_it_is() -> None:
    config = configuration()

    def fails_at(run: int) -> Compiler:
        runs = []

        def compiler(operations: GraphModule) -> Operations:
            def operate(*given: Any) -> list[Tensor]:
                runs.append(run)
                if len(runs) == run:
                    raise RuntimeError("no compiler\nlines of it")
                found: list[Tensor] = operations(*given)
                return found

            return operate

        return compiler

    with pytest.raises(DeviceError, match=r"does not run here \(no compiler\); .*Install"):
        train(config, fails_at(1))
    with pytest.raises(RuntimeError, match="lines of it"):
        train(config, fails_at(2))


def test_what_does_not_go_with_compiling_is_named() -> None:
    class Watcher(Ending):
        watches_gradients = True

    compiled = configuration(compile=True)
    check_compile(compiled, [Ending()])
    check_compile(configuration(), [Watcher()], processes=2)
    with pytest.raises(UsageError, match="--compile does not go with several processes"):
        check_compile(compiled, [], processes=2)
    with pytest.raises(UsageError, match="--compile does not go with --tracker wandb"):
        check_compile(compiled, [Watcher()])


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_run_that_stopped_and_went_on_is_the_same_bit_for_bit(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    for run, steps in (("once", 6), ("twice", 3), ("twice", 6)):
        small = ("--width", 2, "--batch-size", 4, "--latent-dim", 4)
        done = run_wgan("train", "--run", run, "--steps", steps, *small, "--compile", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "the first step takes a minute" in done.stdout
    states = [
        torch.load(tmp_path / run / "checkpoints/step-00000006.pt", weights_only=True)
        for run in ("once", "twice")
    ]
    for player in ("generator", "critic", "average"):
        one, two = (state[player] for state in states)
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_without_a_cpp_compiler_a_sentence_says_so(
    tmp_path: Path, run_wgan: RunWgan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    small = ("--steps", 1, "--width", 2, "--batch-size", 4)
    done = run_wgan("train", *small, "--compile", cwd=tmp_path)
    assert done.returncode != 0
    assert "needs a C++ compiler" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def compiler() -> None:
    """Skip where PyTorch's compiler has nothing to compile C++ with."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("there is no C++ compiler here")
