"""The training loop: what each step updates, from which inputs, and how often."""

import dataclasses
import itertools
import re
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from wgan.errors import UsageError
from wgan.training.config import TrainConfig
from wgan.training.data import Batch
from wgan.training.loop import (
    penalty_weight,
    sample_epsilon,
    train_steps,
    update_critic,
    update_generator,
)
from wgan.training.losses import gradient_norms, gradient_penalty, interpolates
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
TINY = TrainConfig(width=2, latent_dim=4, batch_size=4, n_critic=5, learning_rate=2e-4)
TINY_ARTICLE = TrainConfig.resolve(
    {"recipe": "article", "width": 2, "latent_dim": 4, "batch_size": 4}
)


def make_state(config: TrainConfig = TINY) -> TrainState:
    return TrainState(*build(config), config, CPU)


def real_images(seed: int = 0) -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def copies(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network: nn.Module, before: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))


def test_a_critic_update_does_not_change_the_generator_or_its_gradients() -> None:
    state = make_state()
    before, critic_before = copies(state.generator), copies(state.critic)
    update_critic(state, Batch(real_images()), TINY)
    assert unchanged(state.generator, before)
    assert not unchanged(state.critic, critic_before)
    assert all(parameter.grad is None for parameter in state.generator.parameters())


def test_a_generator_update_does_not_change_the_critic_or_its_gradients() -> None:
    state = make_state()
    before, critic_before = copies(state.generator), copies(state.critic)
    update_generator(state, Batch(real_images()), TINY)
    assert not unchanged(state.generator, before)
    assert unchanged(state.critic, critic_before)
    assert all(parameter.grad is None for parameter in state.critic.parameters())
    assert all(parameter.requires_grad for parameter in state.critic.parameters())


def test_a_frozen_layer_stays_frozen() -> None:
    state = make_state()
    frozen = next(state.critic.parameters()).requires_grad_(False)
    before = frozen.clone()
    list(itertools.islice(train_steps(state, real_images, TINY), 2))
    assert torch.equal(frozen, before)
    assert not frozen.requires_grad


@pytest.mark.parametrize(("config", "batches"), [(TINY, 5), (TINY_ARTICLE, 1)])
def test_each_critic_update_has_a_fresh_batch_except_in_the_article_recipe(
    config: TrainConfig, batches: int
) -> None:
    drawn = itertools.count()

    def next_batch() -> Tensor:
        return real_images(next(drawn))

    steps = train_steps(make_state(config), next_batch, config)
    next(steps)
    assert next(drawn) == batches


def test_the_data_can_be_points_instead_of_images() -> None:
    linear = nn.Linear(2, 1)
    state = TrainState(nn.Linear(4, 2), nn.Sequential(linear, nn.Flatten(0)), TINY, CPU)
    slope = linear.weight.detach().norm()  # a linear critic's gradient, wherever it is taken
    terms = update_critic(state, Batch(torch.randn(4, 2)), TINY)
    assert torch.allclose(terms.gradient_norm, slope)
    assert next(train_steps(state, lambda: torch.randn(4, 2), TINY)).number == 1


@pytest.mark.parametrize(
    ("shape", "settings", "sentence"),
    [
        ((3, 3, 32, 32), {}, "a batch has 3 images, but batch_size asks for 4"),
        ((3, 3, 32, 32), {"accumulate": 2}, "a batch has 3 images, but batch_size asks for 4"),
        ((4, 1, 32, 32), {}, "shape [4, 1, 32, 32] and the generated ones [4, 3, 32, 32]"),
        ((4, 3, 64, 64), {"accumulate": 2}, "shape [2, 3, 64, 64] and the generated ones [2, 3,"),
    ],
)
def test_a_batch_of_the_wrong_shape_is_refused_in_a_sentence(
    shape: tuple[int, ...], settings: dict[str, Any], sentence: str
) -> None:
    config = dataclasses.replace(TINY, **settings)
    steps = train_steps(make_state(config), lambda: torch.zeros(shape), config)
    with pytest.raises(UsageError, match=re.escape(sentence)):
        next(steps)


def test_a_step_reports_the_losses_of_losses_py() -> None:
    config = TrainConfig(width=2, latent_dim=4, batch_size=4, n_critic=1)
    state, twin = make_state(config), make_state(config)
    real = real_images()
    step = next(train_steps(state, lambda: real, config))

    latents = torch.randn(4, 4, generator=twin.rng)
    epsilon = torch.rand(4, 1, 1, 1, generator=twin.rng)
    generated = twin.generator(latents).detach()
    wasserstein = twin.critic(real).mean() - twin.critic(generated).mean()
    penalty = gradient_penalty(gradient_norms(twin.critic, interpolates(real, generated, epsilon)))
    assert step.number == 1
    assert float(step.critic.wasserstein) == pytest.approx(float(wasserstein.detach()), abs=1e-5)
    assert float(step.critic.gradient_penalty) == pytest.approx(float(penalty.detach()), abs=1e-5)
    loss = 10 * float(penalty.detach()) - float(wasserstein.detach())
    assert float(step.critic.loss) == pytest.approx(loss, abs=1e-4)


def test_a_step_of_r3gan_has_the_losses_of_its_paper() -> None:
    config = TrainConfig.resolve(
        {"recipe": "r3gan", "width": 2, "latent_dim": 4, "batch_size": 4, "decay_steps": 0}
    )
    state, twin = make_state(config), make_state(config)
    batches = [real_images(0), real_images(1)]  # the critic's and the generator's
    step = next(train_steps(state, iter(batches).__next__, config))

    real = batches[0].requires_grad_()
    fake = twin.generator(torch.randn(4, 4, generator=twin.rng)).detach().requires_grad_()
    real_scores, fake_scores = twin.critic(real), twin.critic(fake)
    slopes = torch.autograd.grad((real_scores + fake_scores).sum(), (real, fake))
    r1, r2 = (slope.square().sum(dim=(1, 2, 3)).mean() for slope in slopes)
    loss = softplus(fake_scores - real_scores).mean() + config.gp_weight / 2 * (r1 + r2)
    assert float(step.critic.loss) == pytest.approx(float(loss.detach()), abs=1e-5)

    latents = torch.randn(4, 4, generator=twin.rng)
    pair = state.critic(batches[1]), state.critic(twin.generator(latents))
    expected = softplus(pair[0] - pair[1]).mean()
    assert float(step.generator_loss) == pytest.approx(float(expected.detach()), abs=1e-5)


def test_epsilon_is_uniform_with_one_value_per_image() -> None:
    config = dataclasses.replace(TINY, batch_size=4096)
    epsilon = sample_epsilon(make_state(config), config)
    assert epsilon.shape == (4096, 1, 1, 1)
    quantiles = epsilon.flatten().sort().values - torch.linspace(0, 1, 4096)
    assert float(quantiles.abs().max()) < 0.04  # Kolmogorov-Smirnov, p below 1e-5


def test_an_update_keeps_no_graph() -> None:
    class Saved:
        """A tensor that autograd saves for a backward pass."""

        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor
            alive.add(self)

    alive: weakref.WeakSet[Saved] = weakref.WeakSet()
    state = make_state()
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        losses = (
            update_critic(state, Batch(real_images()), TINY),
            update_generator(state, Batch(real_images()), TINY),
        )
    assert not alive
    assert losses


def test_one_critic_pass_over_real_and_generated_images_gives_the_same_scores() -> None:
    state = make_state()
    real, generated = real_images(0), real_images(1)
    together = state.critic(torch.cat([real, generated]))
    apart = torch.cat([state.critic(real), state.critic(generated)])
    assert torch.allclose(together, apart, atol=1e-5)


class GreyGenerator(nn.Module):
    """Returns grey images for any latents, so that updates do not depend on random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.shade = nn.Parameter(torch.zeros(1))

    def forward(self, latents: Tensor) -> Tensor:
        return self.shade.expand(len(latents), 3, 32, 32)


def test_gradient_accumulation_gives_the_update_of_the_whole_batch() -> None:
    after = []
    for parts in (1, 2):
        # Clipping that clips nothing: the penalty would draw its own random numbers in each part.
        config = dataclasses.replace(TINY, accumulate=parts, constraint="clip", clip_limit=1e6)
        state = TrainState(GreyGenerator(), build(config)[1], config, CPU)
        terms = update_critic(state, Batch(real_images()), config)
        after.append((copies(state.critic), float(terms.wasserstein)))
    (whole, estimate), (in_parts, estimate_in_parts) = after
    assert estimate == pytest.approx(estimate_in_parts, abs=1e-5)
    for one, two in zip(whole, in_parts, strict=True):
        assert torch.allclose(one, two, atol=1e-6)


def test_clipping_limits_every_weight_and_has_no_penalty() -> None:
    config = dataclasses.replace(TINY, constraint="clip", clip_limit=0.02)
    state = make_state(config)
    terms = update_critic(state, Batch(real_images()), config)
    assert max(float(weights.abs().max()) for weights in copies(state.critic)) == pytest.approx(
        0.02
    )
    assert float(terms.gradient_penalty) == 0
    assert float(terms.loss) == pytest.approx(-float(terms.wasserstein))


def test_the_drift_penalty_is_added_with_its_weight() -> None:
    real = real_images()
    plain, drifting = (
        update_critic(make_state(config), Batch(real), config)
        for config in (TINY, dataclasses.replace(TINY, drift=0.5))
    )
    score = make_state().critic(real).detach().square().mean()
    assert float(drifting.loss - plain.loss) == pytest.approx(0.5 * float(score), rel=1e-4)


def test_the_one_sided_constraint_uses_the_one_sided_penalty() -> None:
    config = dataclasses.replace(TINY, constraint="one-sided")
    state = make_state(config)
    with torch.no_grad():
        for parameter in state.critic.parameters():
            parameter.mul_(0.1)  # tiny gradients: the two-sided penalty would be nearly 1
    terms = update_critic(state, Batch(real_images()), config)
    assert float(terms.gradient_norm) < 0.1
    assert float(terms.gradient_penalty) == 0


def test_the_same_seed_trains_the_same_weights() -> None:
    results = []
    for _ in range(2):
        state = make_state()
        list(itertools.islice(train_steps(state, real_images, TINY), 3))
        results.append(copies(state.generator_ema))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_critic_learns_to_separate_real_and_generated_images() -> None:
    config = TrainConfig(width=4, latent_dim=4, batch_size=4, learning_rate=1e-3)
    state = make_state(config)
    real = torch.ones(4, 3, 32, 32)
    estimates = [float(update_critic(state, Batch(real), config).wasserstein) for _ in range(40)]
    assert estimates[-1] > 10 * abs(estimates[0])


@pytest.mark.parametrize(
    ("n_critic", "every", "taken"), [(5, 1, 5), (5, 2, 3), (5, 5, 1), (3, 2, 2)]
)
def test_a_lazy_penalty_has_the_same_total_weight_in_a_step(
    n_critic: int, every: int, taken: int
) -> None:
    config = dataclasses.replace(TINY, n_critic=n_critic, gp_every=every)
    weights = [penalty_weight(config, update) for update in range(n_critic)]
    given = [weight for weight in weights if weight is not None]
    assert len(given) == taken
    assert sum(given) == pytest.approx(n_critic * config.gp_weight)
    assert weights[-1] is not None, "the logged losses are those of the last critic update"


def test_without_a_penalty_the_critic_loss_is_the_negative_estimate() -> None:
    config = dataclasses.replace(TINY, n_critic=2, gp_every=2)
    without, with_ = (
        update_critic(make_state(config), Batch(real_images()), config, update) for update in (0, 1)
    )
    assert float(without.loss) == pytest.approx(-float(without.wasserstein))
    assert float(without.gradient_penalty) == 0
    expected = 20 * float(with_.gradient_penalty) - float(with_.wasserstein)
    assert float(with_.loss) == pytest.approx(expected, rel=1e-5)


class SeenByCritic(nn.Module):
    """A critic that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.inputs: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.inputs.append(images.detach().clone())
        return self.weight * images.flatten(1).sum(dim=1)


class White(nn.Module):
    """A generator of images whose values are all 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(3, 32, 32))

    def forward(self, latents: Tensor) -> Tensor:
        return self.value.expand(len(latents), -1, -1, -1)


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
def test_the_critic_sees_augmented_images_only_in_both_updates(loss: str) -> None:
    config = dataclasses.replace(TINY, augment="cutout", loss=loss)
    generator, critic = White(), SeenByCritic()
    white = torch.ones(4, 3, 32, 32)
    state = TrainState(generator, critic, config, CPU)
    update_critic(state, Batch(white), config)
    of_critic = len(critic.inputs)
    assert of_critic == 2, "real with generated images, and those between them"
    update_generator(state, Batch(white), config)
    assert len(critic.inputs) > of_critic
    for images in critic.inputs:
        # An image between two with different cuts is darker in either of them.
        assert bool((images < 1).flatten(1).any(dim=1).all())
        assert bool((images > 0).flatten(1).any(dim=1).all())
    gradient = generator.value.grad
    assert gradient is not None
    assert bool((gradient != 0).any()), "gradients pass through the augmentation"


def test_without_augmentation_no_random_numbers_are_drawn_for_it() -> None:
    plain, auto = (make_state() for _ in range(2))
    update_critic(plain, Batch(real_images()), TINY)
    update_critic(auto, Batch(real_images()), dataclasses.replace(TINY, augment="auto"))
    assert torch.equal(plain.rng.get_state(), auto.rng.get_state())
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.critic.parameters(), auto.critic.parameters(), strict=True)
    )
