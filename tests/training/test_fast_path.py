"""The optimised loop computes what the plain one does, up to rounding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.plain_loop import PlainLoop
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import CapturedStep, Work
from wgan.training.data import Batch
from wgan.training.loop import StepResult, train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
STEPS = 5
CONDITIONAL = {"conditional": True, "classes": ("cat", "dog", "bird")}


class EagerRecorder:
    """Substitute for a CUDA graph on a machine without a GPU: runs the step again."""

    def __init__(self) -> None:
        self.warmed_up = self.captured = self.replayed = 0

    def warm_up(self, work: Work) -> StepResult:
        self.warmed_up += 1
        return work()

    def capture(self, work: Work) -> Work:
        self.captured += 1

        def replay() -> StepResult:
            self.replayed += 1
            return work()

        return replay


def configuration(**settings: Any) -> TrainConfig:
    small = {"width": 2, "latent_dim": 4, "batch_size": 4, "learning_rate": 1e-3, "decay_steps": 0}
    return TrainConfig.resolve({**small, **settings})


def batches(config: TrainConfig) -> Callable[[], Batch]:
    noise = torch.Generator().manual_seed(1)
    shape = (config.batch_size, 3, config.height, config.image_width)

    def next_batch() -> Batch:
        images = torch.rand(shape, generator=noise) * 2 - 1
        if not config.conditional:
            return Batch(images)
        return Batch(images, torch.randint(len(config.classes), shape[:1], generator=noise))

    return next_batch


def fast(
    config: TrainConfig, captured: CapturedStep | None = None
) -> tuple[list[list[float]], dict[str, Tensor]]:
    state = TrainState(*build(config), config, CPU)
    figures = []
    for step in train_steps(state, batches(config), config, step_fn=captured):
        terms = step.critic
        figures.append([
            float(value.detach())
            for value in (terms.wasserstein, terms.gradient_penalty, terms.gradient_norm,
                          terms.loss, step.generator_loss)
        ])  # fmt: skip
        if step.number == STEPS:
            break
    networks = {"c": state.critic, "g": state.generator, "a": state.generator_ema}
    return figures, weights(networks)


def plain(config: TrainConfig) -> tuple[list[list[float]], dict[str, Tensor]]:
    loop, next_batch = PlainLoop(*build(config), config), batches(config)
    figures = [loop.step(number, next_batch) for number in range(1, STEPS + 1)]
    return figures, weights({"c": loop.critic, "g": loop.generator, "a": loop.average})


def weights(networks: dict[str, torch.nn.Module]) -> dict[str, Tensor]:
    return {
        f"{player}.{name}": parameter.detach()
        for player, network in networks.items()
        for name, parameter in network.named_parameters()
    }


def largest_difference(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    "settings",
    [{}, {"critic_norm": "layer"}, {"recipe": "wgan-gp"}, {"recipe": "article"},
     {"arch": "resnet"}, CONDITIONAL, {"arch": "resnet", **CONDITIONAL}],
    ids=str,
)  # fmt: skip
def test_the_optimised_loop_equals_the_plain_one(
    settings: dict[str, Any],
) -> None:
    config = configuration(**settings)
    (fast_figures, fast_weights), (plain_figures, plain_weights) = fast(config), plain(config)
    for mine, expected in zip(fast_figures, plain_figures, strict=True):
        assert mine == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert largest_difference(fast_weights, plain_weights) < 1e-7


def test_in_float32_both_loops_agree_up_to_rounding() -> None:
    config = configuration(beta1=0.5)
    (fast_figures, _), (plain_figures, _) = fast(config), plain(config)
    for mine, expected in zip(fast_figures, plain_figures, strict=True):
        assert mine == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    "settings", [{"recipe": "wgan-gp"}, {"recipe": "article"}, CONDITIONAL], ids=str
)
def test_captured_steps_give_the_same_weights_bit_for_bit(settings: dict[str, Any]) -> None:
    config = configuration(**settings, decay_steps=10)
    recorder = EagerRecorder()
    recorded = fast(config, CapturedStep(recorder))
    taken = fast(config)
    assert (recorder.warmed_up, recorder.captured, recorder.replayed) == (3, 1, STEPS - 3)
    assert recorded[0] == taken[0]
    assert largest_difference(recorded[1], taken[1]) == 0
