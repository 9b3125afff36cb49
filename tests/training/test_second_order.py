"""The fast double backward: the same derivatives as PyTorch's for fewer operations."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.operations import count_operations
from wgan.training.config import TrainConfig
from wgan.training.networks import build
from wgan.training.second_order import FastDoubleBackward

Critic = Callable[[Tensor], Tensor]


def plain_penalty(critic: Critic, images: Tensor) -> Tensor:
    """Return the penalty by PyTorch's own operations."""
    images = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(images).sum(), images, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def fast_penalty(critic: Critic, images: Tensor) -> Tensor:
    images = images.clone().requires_grad_()
    with FastDoubleBackward() as operations:
        scores = critic(images)
    with operations.no_weight_gradients():
        (slope,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def gradients(penalty: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    found = torch.autograd.grad(penalty, weights, allow_unused=True)
    return [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(weights, found, strict=True)
    ]


def assert_agree(
    critic: Critic, weights: Sequence[Tensor], images: Tensor, tolerance: float
) -> None:
    expected, found = plain_penalty(critic, images), fast_penalty(critic, images)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=tolerance)
    largest = 0.0
    for one, two in zip(gradients(expected, weights), gradients(found, weights), strict=True):
        largest = max(largest, float(one.abs().max()))
        assert float((one - two).abs().max()) < tolerance * (1 + largest)
    assert largest > 0


@pytest.mark.parametrize("norm", ["none", "layer", "instance", "batch"])
@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_penalty_and_its_gradient_equal_those_of_pytorch(
    arch: str, norm: str, dtype: torch.dtype
) -> None:
    _, critic = build(TrainConfig(width=4, critic_norm=norm, arch=arch))
    critic.to(dtype).to(memory_format=torch.channels_last)
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 32, 32, generator=noise).to(dtype)
    assert_agree(
        critic, list(critic.parameters()), images, 1e-4 if dtype == torch.float32 else 1e-11
    )


@pytest.mark.parametrize(
    "options",
    [{"stride": 2, "padding": (1, 0)}, {"dilation": 2}, {"groups": 2, "padding": "same"},
     {"groups": 4, "stride": (2, 1)}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_convolution_is_replaced(options: dict[str, Any]) -> None:
    noise = torch.Generator().manual_seed(0)
    images = torch.randn(3, 4, 9, 8, generator=noise, dtype=torch.float64)
    groups = options.get("groups", 1)
    weight = torch.randn(8, 4 // groups, 3, 3, generator=noise, dtype=torch.float64)
    bias = torch.randn(8, generator=noise, dtype=torch.float64)
    weights = [weight.requires_grad_(), bias.requires_grad_()]

    def critic(x: Tensor) -> Tensor:  # curved, so that every path carries a gradient
        return torch.tanh(functional.conv2d(x, weight, bias, **options)).sum(dim=(1, 2, 3))

    assert_agree(critic, weights, images, 1e-10)


@pytest.mark.parametrize("activation", [
    nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2), nn.LeakyReLU(0.2, inplace=True),
    nn.LeakyReLU(-0.5),
], ids=str)  # fmt: skip
def test_every_kind_of_relu_is_replaced(activation: nn.Module) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(2, 4, 3), activation, nn.Conv2d(4, 1, 3), nn.Flatten())
    critic.double()
    images = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    assert_agree(critic, list(critic.parameters()), images, 1e-11)


def test_a_frozen_layer_gets_no_gradient() -> None:
    _, critic = build(TrainConfig(width=2))
    critic.double()
    first, *others = list(critic.parameters())
    first.requires_grad_(False)
    assert_agree(critic, others, torch.randn(2, 3, 32, 32, dtype=torch.float64), 1e-11)
    assert first.grad is None


def test_without_a_norm_a_third_of_the_operations_are_saved() -> None:
    _, critic = build(TrainConfig(width=8, size=64))
    images = torch.randn(4, 3, 64, 64)
    whole = count_operations(lambda: plain_penalty(critic, images).backward()).flops
    less = count_operations(lambda: fast_penalty(critic, images).backward()).flops
    assert less < 0.7 * whole


def test_outside_the_block_operations_are_those_of_pytorch() -> None:
    with FastDoubleBackward():
        inside = functional.relu(torch.ones(1, requires_grad=True))
    outside = functional.relu(torch.ones(1, requires_grad=True))
    assert "LeakyReLU" in type(inside.grad_fn).__name__
    assert "Relu" in type(outside.grad_fn).__name__
