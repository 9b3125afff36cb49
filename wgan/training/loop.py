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
from wgan.training.losses import generator_loss, gradient_penalty, wasserstein_estimate


@dataclass(frozen=True)
class Step:
    """One generator update with its critic updates; the values are 0-d tensors on the device.

    They are left there since reading one (`float(step.wasserstein)`) makes the host wait for the
    device. The critic's values are those of the step's last critic update, before it.
    """

    number: int  # counted from 1
    wasserstein: Tensor  # mean critic score of real minus of generated images
    gradient_penalty: Tensor  # before its weight
    critic_loss: Tensor
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
        self.generator_optimizer = _adam(generator, config)
        self.critic_optimizer = _adam(critic, config)
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
        real = next_batch()
        for update in range(config.n_critic):
            if update > 0 and config.fresh_batches:
                real = next_batch()
            wasserstein, penalty, critic_loss = update_critic(players, real, config)
        loss = update_generator(players, config)
        decay = ema_decay(config.ema_half_life, step * config.batch_size, config.batch_size)
        update_average(players.average, players.generator, decay)
        yield Step(step, wasserstein, penalty, critic_loss, loss)


def update_critic(
    players: Players, real: Tensor, config: TrainConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Let the critic take one step towards telling real from generated images.

    Returns the Wasserstein estimate, the penalty and the loss, as they were before the step.
    """
    critic = players.critic
    with torch.no_grad():  # the generator learns nothing from a critic update
        generated = players.generator(draw_latents(players, config))
    epsilon = torch.rand(len(real), 1, 1, 1, generator=players.noise, device=players.device)

    if config.critic_norm == "batch":  # the critic would see other statistics in a joint batch
        real_scores, generated_scores = critic(real), critic(generated)
    else:
        real_scores, generated_scores = critic(torch.cat([real, generated])).chunk(2)
    wasserstein = wasserstein_estimate(real_scores, generated_scores)
    penalty = gradient_penalty(critic, real, generated, epsilon)
    loss = config.gp_weight * penalty - wasserstein

    players.critic_optimizer.zero_grad()
    loss.backward()
    players.critic_optimizer.step()
    return wasserstein.detach(), penalty.detach(), loss.detach()


def update_generator(players: Players, config: TrainConfig) -> Tensor:
    """Let the generator take one step towards a higher score; returns its loss before the step."""
    # The critic's own gradients are not wanted here, and leaving them out saves their work.
    players.critic.requires_grad_(False)
    loss = generator_loss(players.critic(players.generator(draw_latents(players, config))))
    players.generator_optimizer.zero_grad()
    loss.backward()
    players.generator_optimizer.step()
    players.critic.requires_grad_(True)
    return loss.detach()


def draw_latents(players: Players, config: TrainConfig) -> Tensor:
    """Draw a batch of latents, `[batch_size, latent_dim]`, from the run's own noise."""
    shape = (config.batch_size, config.latent_dim)
    return torch.randn(shape, generator=players.noise, device=players.device)


def _adam(network: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(network.parameters(), config.learning_rate, betas, fused=True)
