"""Mistakes in a user's own networks are one sentence each, before step 1."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wgan.errors import UsageError
from wgan.training.config import TrainConfig
from wgan.training.dry_pass import check_networks
from wgan.training.networks import Networks

CONFIG = TrainConfig(arch="mine:build", size=32, latent_dim=6, channels=1)
SHAPE = (1, 32, 32)


class Call(nn.Module):
    """A network with one weight and any function."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        """Call the function with the input and the weight."""
        return self.function(x, self.weight)


def draws(z: Tensor, weight: Tensor) -> Tensor:
    return (z.repeat(1, 171)[:, :1024].reshape(-1, 1, 32, 32) * weight).tanh()


def scores(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).mean((1, 2, 3))


def check(generator: Callable[..., Any] = draws, critic: Callable[..., Any] = scores) -> None:
    check_networks(CONFIG, lambda _: (Call(generator), Call(critic)), SHAPE)


@pytest.mark.parametrize("critic", [scores, lambda x, w: scores(x, w)[:, None]])
def test_scores_may_be_a_row_or_a_column(
    critic: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    check(critic=critic)
    assert not caplog.records


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda z, w: (draws(z, w), z), "the generator returns a tuple: .* only the images"),
        (
            lambda z, w: draws(z, w)[:, :, ::2],
            r"returns \[8, 1, 16, 32\] .* images \[8, 1, 32, 32\]",
        ),
        (lambda z, w: z @ torch.ones(3, 3), r"cannot be run on latents \[8, 6\]: .*, 1, 1\]"),
        (lambda z, w: draws(z, w) / 0, r"mine:build draws values that are not finite \(NaN"),
        (
            lambda z, w: draws(z, w).detach(),
            "no gradient of the generator's images arrives at its p",
        ),
    ],
)
def test_mistakes_of_a_generator(generator: Callable[..., Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(generator)


@pytest.mark.parametrize(
    ("critic", "message"),
    [
        (lambda x, w: (scores(x, w), x), "the critic returns a tuple: .* only the scores"),
        (lambda x, w: x * w, r"returns \[8, 1, 32, 32\] for 8 images: .*one score"),
        (lambda x, w: x @ torch.ones(3, 3), r"the critic cannot be run on images \[8, 1, 32, 32\]"),
        (lambda x, w: scores(x, w) * torch.nan, "mine:build returns scores that are not finite"),
        (lambda x, w: scores(x.detach(), w), "no gradient of the critic's scores .* at its images"),
        (lambda x, w: scores(x, w.detach()), "no gradient of the critic's scores .* at its param"),
        (lambda x, w: (scores(x, w) > 0).float(), r"arrives at its images, .*\(x > 0\).float\(\)"),
        (lambda x, w: scores(x.mul_(0.5), w), "in-place operation; write operations in place, as"),
        (
            lambda x, w: checkpoint(scores, x, w, use_reentrant=True),
            r"the gradient penalty needs  checkpoint\(..., use_reentrant=False\)",
        ),
    ],
)
def test_mistakes_of_a_critic(critic: Callable[..., Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(critic=critic)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda z, w: draws(z, w) * 3, "draws values from -[23]"),
        (lambda z, w: draws(z, w).sigmoid(), "no value below 0, as after a sigmoid"),
    ],
)
def test_a_wrong_range_is_a_warning(
    generator: Callable[..., Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    check(generator)
    assert any(re.search(message, record.getMessage()) for record in caplog.records)


class WithEmbedding(Call):
    """A critic with an embedding of sparse gradients."""

    def __init__(self) -> None:
        super().__init__(scores)
        self.embedding = nn.Embedding(2, 1, sparse=True)

    def forward(self, x: Tensor) -> Any:
        """Score images."""
        index = torch.zeros(len(x), dtype=torch.int64)
        return super().forward(x) + self.embedding(index).flatten()


class WithoutParameters(nn.Module):
    """A network that nothing can train."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        """Call the function with a weight of 1."""
        return self.function(x, torch.ones(1))


def sharing() -> Networks:
    """A critic with a parameter of the generator's."""
    generator, critic = Call(draws), Call(scores)
    critic.weight = generator.weight
    return generator, critic


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (lambda: (Call(draws), WithEmbedding()), r"'embedding.weight' in the critic .* is sparse"),
        (lambda: (Call(draws), WithoutParameters(scores)), "the critic .* has no parameters"),
        (lambda: (WithoutParameters(draws), Call(scores)), "the generator .* has no parameters"),
        (lambda: (Call(draws).requires_grad_(False), Call(scores)), "of the generator .* frozen"),
        (lambda: (Call(draws), Call(scores).requires_grad_(False)), "of the critic .* frozen"),
        (sharing, r"the critic .* has parameters of the generator \('weight'\)"),
    ],
)
def test_networks_that_cannot_be_trained_are_named(
    networks: Callable[[], Networks], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        check_networks(CONFIG, lambda _: networks(), SHAPE)


def test_the_pass_leaves_the_random_state_as_it_was() -> None:
    before = torch.get_rng_state()
    critic = nn.Sequential(nn.Dropout(), Call(scores))
    check_networks(CONFIG, lambda _: (Call(draws), critic), SHAPE)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_may_share_what_nobody_trains() -> None:
    networks = Call(draws), Call(scores)
    networks[0].table = networks[1].table = nn.Embedding(4, 4).requires_grad_(False)
    check_networks(CONFIG, lambda _: networks, SHAPE)
