"""The algorithm: WGAN-GP training (Gulrajani et al. 2017, Algorithm 1), one step after another.

This file is the whole of it. It draws nothing, saves nothing and prints nothing: `train_steps`
yields a `Step`, and whoever iterates decides what to do with it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig
from wgan.training.ema import averaged_copy, ema_decay, update_average
from wgan.training.losses import (
    drift_penalty,
    generator_loss,
    gradient_norms,
    gradient_penalty,
    wasserstein_estimate,
)
from wgan.training.optimizers import learning_rate, make_optimizer, set_learning_rate


@dataclass(frozen=True)
class CriticTerms:
    """What a critic update saw before it moved; 0-d tensors."""

    wasserstein: Tensor  # mean critic score of real minus of generated images
    gradient_penalty: Tensor  # before its weight; 0 under a constraint that has none
    gradient_norm: Tensor  # mean over images; 0 under a constraint that has no penalty
    loss: Tensor


@dataclass(frozen=True)
class Step:
    """One generator update with its critic updates; the values are 0-d tensors on the device.

    They are left there since reading one (`float(step.generator_loss)`) makes the host wait for
    the device. The critic's terms are those of the step's last critic update.
    """

    number: int  # counted from 1
    critic: CriticTerms
    generator_loss: Tensor


class Players:
    """All that a step changes: both networks, the EMA, both optimisers and the noise.

    The networks are plain modules: a generator from latents `[n, latent_dim]` to images, a critic
    from images to scores `[n]`.
    """

    def __init__(
        self, generator: nn.Module, critic: nn.Module, config: TrainConfig, device: torch.device
    ) -> None:
        # Channels last is the layout that convolutions run fastest in, on CPUs and GPUs.
        self.generator = generator.to(device).to(memory_format=torch.channels_last).train()
        self.critic = critic.to(device).to(memory_format=torch.channels_last).train()
        self.average = averaged_copy(generator)
        self.generator_optimizer = make_optimizer(generator, config)
        self.critic_optimizer = make_optimizer(critic, config)
        self.noise = torch.Generator(device).manual_seed(config.seed)
        self.device = device


def train_steps(
    players: Players,
    next_batch: Callable[[], Tensor],
    config: TrainConfig,
    start: int = 0,
) -> Iterator[Step]:
    """Train for ever, yielding after each step; the caller stops by no longer asking.

    Args:
        players: what is trained, in place.
        next_batch: gives real images `[batch_size, channels, size, size]` in [-1, 1], on the
            device, new ones at each call.
        config: the settings of the algorithm.
        start: steps already done.
    """
    step = start
    while True:
        step += 1
        rate = learning_rate(config, step)
        set_learning_rate(players.critic_optimizer, rate)
        set_learning_rate(players.generator_optimizer, rate)

        real = next_batch()
        for update in range(config.n_critic):
            if update > 0 and config.fresh_batches:
                real = next_batch()
            critic_terms = update_critic(players, real, config)
        loss = update_generator(players, config)

        decay = ema_decay(config.ema_half_life, step * config.batch_size, config.batch_size)
        update_average(players.average, players.generator, decay)
        yield Step(step, critic_terms, loss)


def update_critic(players: Players, real: Tensor, config: TrainConfig) -> CriticTerms:
    """Let the critic take one step towards telling real from generated images."""
    players.critic_optimizer.zero_grad()
    seen = []
    for part in real.chunk(config.accumulate):
        terms = critic_terms(players, part, config)
        (terms.loss / config.accumulate).backward()  # gradients add up over the parts
        seen.append(terms)
    players.critic_optimizer.step()
    if config.constraint == "clip":
        clip_weights(players.critic, config.clip_limit)
    return _mean_terms(seen)


def critic_terms(players: Players, real: Tensor, config: TrainConfig) -> CriticTerms:
    """The critic's loss on real images `[n, c, h, w]` and as many generated ones (equation 3)."""
    critic = players.critic
    with torch.no_grad():  # the generator learns nothing from a critic update
        generated = players.generator(draw_latents(players, config))

    if config.critic_norm == "batch":  # the critic would see other statistics in a joint batch
        real_scores, generated_scores = critic(real), critic(generated)
    else:
        real_scores, generated_scores = critic(torch.cat([real, generated])).chunk(2)
    wasserstein = wasserstein_estimate(real_scores, generated_scores)
    loss = -wasserstein

    penalty = norm = torch.zeros_like(loss)
    if config.constraint in ("penalty", "one-sided"):
        epsilon = torch.rand(len(real), 1, 1, 1, generator=players.noise, device=players.device)
        norms = gradient_norms(critic, real, generated, epsilon)
        penalty, norm = gradient_penalty(norms, config.constraint == "one-sided"), norms.mean()
        loss = loss + config.gp_weight * penalty
    if config.drift > 0:
        loss = loss + config.drift * drift_penalty(real_scores)
    return CriticTerms(wasserstein, penalty, norm, loss)


def update_generator(players: Players, config: TrainConfig) -> Tensor:
    """Let the generator take one step towards a higher score; returns its loss before the step."""
    # The critic's own gradients are not wanted here, and leaving them out saves their work.
    learning = [weight for weight in players.critic.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    players.generator_optimizer.zero_grad()
    losses = []
    for _ in range(config.accumulate):
        scores = players.critic(players.generator(draw_latents(players, config)))
        loss = generator_loss(scores)
        (loss / config.accumulate).backward()
        losses.append(loss.detach())
    players.generator_optimizer.step()
    for weight in learning:
        weight.requires_grad_(True)
    return torch.stack(losses).mean()


def draw_latents(players: Players, config: TrainConfig) -> Tensor:
    """Latents for one part of a batch, from the run's own noise."""
    shape = (config.batch_size // config.accumulate, config.latent_dim)
    return torch.randn(shape, generator=players.noise, device=players.device)


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Bring each weight back to [-limit, limit] (Arjovsky et al. 2017, Algorithm 1, line 7)."""
    torch._foreach_clamp_max_(list(critic.parameters()), limit)
    torch._foreach_clamp_min_(list(critic.parameters()), -limit)


def _mean_terms(parts: list[CriticTerms]) -> CriticTerms:
    """The terms of a whole batch from those of its parts, which are of one size."""

    def mean(name: str) -> Tensor:
        return torch.stack([getattr(part, name).detach() for part in parts]).mean()

    return CriticTerms(
        mean("wasserstein"), mean("gradient_penalty"), mean("gradient_norm"), mean("loss")
    )
