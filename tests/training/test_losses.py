"""The losses compared with closed forms and finite differences, and the known WGAN-GP mistakes."""

import math

import pytest
import torch
from torch import Tensor, nn

from wgan.training.losses import (
    drift_penalty,
    generator_loss,
    gradient_norms,
    gradient_penalty,
    interpolates,
    relativistic_critic_loss,
    relativistic_generator_loss,
    wasserstein_estimate,
    zero_centred_penalty,
)


class LinearCritic(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight


class SmoothCritic(nn.Module):
    """Small and nonlinear."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.first = nn.Linear(values, 7, dtype=torch.float64)
        self.last = nn.Linear(7, 1, dtype=torch.float64)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(torch.tanh(self.first(images.flatten(1))))
        return scores.flatten()


def draw(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    noise = torch.Generator().manual_seed(seed)
    shape = (n, 3, 4, 4)
    real = torch.randn(shape, generator=noise, dtype=torch.float64)
    generated = torch.randn(shape, generator=noise, dtype=torch.float64)
    epsilon = torch.rand(n, 1, 1, 1, generator=noise, dtype=torch.float64)
    return real, generated, epsilon


@pytest.mark.parametrize("scale", [0.01, 0.1, 1.0, 30.0])
def test_a_linear_critics_penalty_has_its_closed_form(scale: float) -> None:
    weight = scale * torch.randn(48, generator=torch.Generator().manual_seed(1)).double()
    penalty = gradient_penalty(gradient_norms(LinearCritic(weight), interpolates(*draw(5))))
    expected = (float(weight.norm()) - 1) ** 2
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-12)


def test_the_gradient_of_a_linear_critics_penalty_has_its_closed_form() -> None:
    weight = torch.linspace(-1, 1, 48, dtype=torch.float64)
    critic = LinearCritic(weight)
    gradient_penalty(gradient_norms(critic, interpolates(*draw(5)))).backward()
    expected = 2 * (weight.norm() - 1) * weight / weight.norm()
    assert critic.weight.grad is not None
    assert torch.allclose(critic.weight.grad, expected, atol=1e-12)


def test_the_penalty_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    critic = SmoothCritic(48)
    real, generated, epsilon = draw(4)
    x_hat = epsilon * real + (1 - epsilon) * generated
    norms = []
    for image in x_hat:
        slopes = []
        for place in range(image.numel()):
            shift = torch.zeros(48, dtype=torch.float64)
            shift[place] = 1e-6
            shift = shift.view_as(image)
            ends = critic(torch.stack([image + shift, image - shift]))
            slopes.append(float((ends[0] - ends[1]).detach()) / 2e-6)
        norms.append(math.sqrt(sum(slope**2 for slope in slopes)))
    expected = sum((norm - 1) ** 2 for norm in norms) / len(norms)
    penalty = gradient_penalty(gradient_norms(critic, interpolates(real, generated, epsilon)))
    assert float(penalty.detach()) == pytest.approx(expected, abs=1e-8)


def test_the_gradient_of_the_penalty_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    critic = SmoothCritic(48)
    batch = draw(4)
    weight = critic.first.weight
    (gradient,) = torch.autograd.grad(
        gradient_penalty(gradient_norms(critic, interpolates(*batch))), weight
    )
    for row, column in ((0, 0), (3, 17), (6, 47)):
        ends = []
        for shift in (1e-6, -1e-6):
            with torch.no_grad():
                weight[row, column] += shift
            ends.append(
                float(gradient_penalty(gradient_norms(critic, interpolates(*batch))).detach())
            )
            with torch.no_grad():
                weight[row, column] -= shift
        assert float(gradient[row, column]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def test_each_image_has_one_norm_over_all_of_its_values() -> None:
    # Images whose gradients differ: a norm over the batch or per pixel gives another mean.
    class Scaled(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1) * torch.tensor([1.0, 2.0], dtype=images.dtype)

    real, generated, epsilon = draw(2)
    norms = [math.sqrt(48), 2 * math.sqrt(48)]
    expected = sum((norm - 1) ** 2 for norm in norms) / 2
    penalty = gradient_penalty(gradient_norms(Scaled(), interpolates(real, generated, epsilon)))
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-12)


def test_each_image_is_interpolated_with_its_own_epsilon() -> None:
    seen: list[Tensor] = []

    def critic(images: Tensor) -> Tensor:
        seen.append(images.detach().clone())
        return images.flatten(1).sum(1)

    real, generated, _ = draw(3)
    epsilon = torch.tensor([0.0, 1.0, 0.25], dtype=torch.float64).view(3, 1, 1, 1)
    gradient_penalty(gradient_norms(critic, interpolates(real, generated, epsilon)))
    assert torch.equal(seen[0][0], generated[0])
    assert torch.equal(seen[0][1], real[1])
    assert torch.allclose(seen[0][2], 0.25 * real[2] + 0.75 * generated[2], atol=1e-12)


def test_a_zero_gradient_gives_a_finite_penalty_and_finite_gradients() -> None:
    critic = LinearCritic(torch.zeros(48, dtype=torch.float64))
    penalty = gradient_penalty(gradient_norms(critic, interpolates(*draw(3))))
    penalty.backward()
    assert float(penalty.detach()) == 1
    assert critic.weight.grad is not None
    assert bool(torch.isfinite(critic.weight.grad).all())


def test_the_losses_do_not_depend_on_the_batch_size() -> None:
    scores = torch.tensor([1.0, 2.0, 6.0])
    doubled = torch.cat([scores, scores])
    assert float(generator_loss(scores)) == float(generator_loss(doubled)) == -3
    critic = LinearCritic(torch.ones(48, dtype=torch.float64))
    real, generated, epsilon = draw(3)
    twice = (torch.cat([part, part]) for part in (real, generated, epsilon))
    once = gradient_penalty(gradient_norms(critic, interpolates(real, generated, epsilon))).detach()
    assert float(
        gradient_penalty(gradient_norms(critic, interpolates(*twice))).detach()
    ) == pytest.approx(float(once), rel=1e-12)


def test_the_wasserstein_estimate_is_positive_while_the_critic_prefers_real_images() -> None:
    assert float(wasserstein_estimate(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0]))) == 3


def test_a_one_sided_penalty_ignores_norms_below_one() -> None:
    norms = torch.tensor([0.0, 0.5, 1.0, 3.0])
    assert float(gradient_penalty(norms, one_sided=True)) == 1
    assert float(gradient_penalty(norms)) == pytest.approx((1 + 0.25 + 0 + 4) / 4)


def test_the_drift_penalty_is_the_mean_squared_score() -> None:
    assert float(drift_penalty(torch.tensor([1.0, -3.0]))) == 5


def test_the_relativistic_losses_have_their_closed_form() -> None:
    real, generated = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    critic = (math.log1p(math.exp(-0.5)) + math.log1p(math.exp(5.0))) / 2
    generator = (math.log1p(math.exp(0.5)) + math.log1p(math.exp(-5.0))) / 2
    assert float(relativistic_critic_loss(real, generated)) == pytest.approx(critic)
    assert float(relativistic_generator_loss(real, generated)) == pytest.approx(generator)


def test_the_relativistic_losses_depend_on_the_difference_of_a_pair_only() -> None:
    real, generated = torch.randn(2, 5, dtype=torch.float64)
    for loss in (relativistic_critic_loss, relativistic_generator_loss):
        moved = float(loss(real + 1000, generated + 1000))
        assert moved == pytest.approx(float(loss(real, generated)), rel=1e-9)


def test_the_zero_centred_penalty_of_both_kinds_is_half_of_r1_and_r2() -> None:
    critic = SmoothCritic(48)
    real, generated, _ = draw(6)
    r1, r2 = (gradient_norms(critic, images).square().mean() for images in (real, generated))
    both = zero_centred_penalty(gradient_norms(critic, torch.cat([real, generated])))
    assert float(both.detach()) == pytest.approx(float((r1 + r2).detach()) / 2, rel=1e-12)


def test_interpolates_lie_between_an_image_and_its_pair() -> None:
    real, generated, epsilon = draw(4)
    middle = interpolates(real, generated, epsilon)
    assert torch.allclose(middle, epsilon * real + (1 - epsilon) * generated)
