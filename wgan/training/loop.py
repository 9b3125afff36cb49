"""The algorithm: WGAN-GP training (Gulrajani et al. 2017, Algorithm 1), one step after another.

This file is the whole of it. It draws nothing, saves nothing and prints nothing: `train_steps`
yields a `Step`, and whoever iterates decides what to do with it. It never waits for the device.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, gradients
from wgan.training.distributed.sync_batch_norm import convert_sync_batchnorm
from wgan.training.ema import averaged_copy, ema_decay, update_average
from wgan.training.losses import (
    drift_penalty,
    generator_loss,
    gradient_norms,
    gradient_penalty,
    wasserstein_estimate,
)
from wgan.training.optimizers import learning_rate, make_optimizer, set_learning_rate
from wgan.training.precision import autocast_fn


class CriticLosses(NamedTuple):
    """What a critic update saw before it moved; 0-d tensors."""

    wasserstein: Tensor  # mean critic score of real minus of generated images
    gradient_penalty: Tensor  # before its weight; 0 under a constraint that has none
    gradient_norm: Tensor  # mean over images; 0 under a constraint that has no penalty
    loss: Tensor


class GeneratorLosses(NamedTuple):
    """What a generator update saw before it moved; a 0-d tensor."""

    loss: Tensor


Terms = TypeVar("Terms", CriticLosses, GeneratorLosses)


@dataclass(frozen=True)
class Step:
    """One generator update with its critic updates; the values are 0-d tensors on the device.

    They are left there since reading one (`float(step.generator_loss)`) makes the host wait for
    the device. The critic's terms are those of the step's last critic update.
    """

    number: int  # counted from 1
    critic: CriticLosses
    generator_loss: Tensor


NextBatch = Callable[[], Tensor]
"""Gives real images `[batch_size, channels, size, size]` in [-1, 1], on the device, new ones at
each call."""

Outcome = tuple[CriticLosses, Tensor]
"""What a step says of itself: its last critic update's terms, and the generator's loss."""

TakeStep = Callable[["TrainState", NextBatch, TrainConfig], Outcome]
"""`take_step`, or what does the same."""


class Differentiate(Protocol):
    """`differentiate`, or what does the same."""

    def __call__(self, terms_of: partial[Terms], inputs: tuple[Tensor, ...], share: float) -> Terms:
        """Add gradients to the weights' own."""


def differentiate(terms_of: partial[Terms], inputs: tuple[Tensor, ...], share: float) -> Terms:
    """Add the gradients of a loss to the `.grad` of the weights that take any.

    Args:
        terms_of: `critic_terms` or `generator_terms`, with all that is not in `inputs`.
        inputs: what is new in each update: images, latents, epsilon.
        share: of the batch that the inputs are; the loss is multiplied by it.
    """
    terms = terms_of(*inputs)
    (terms.loss * share).backward()
    return type(terms)(*(value.detach() for value in terms))


class TrainState:
    """All that a step changes: both networks, the EMA, both optimisers and the noise.

    The networks are plain modules: a generator from latents `[n, latent_dim]` to images, a critic
    from images to scores `[n]`. What is called an image may be `[n, ...]` of any shape.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        config: TrainConfig,
        device: torch.device,
        group: ProcessGroup = SINGLE_PROCESS,
        differentiate: Differentiate = differentiate,
    ) -> None:
        generator, critic = (
            convert_sync_batchnorm(generator, group.size),
            convert_sync_batchnorm(critic, group.size),
        )
        # Channels last is the layout that convolutions run fastest in, on CPUs and GPUs.
        self.generator = generator.to(device).to(memory_format=torch.channels_last).train()
        self.critic = critic.to(device).to(memory_format=torch.channels_last).train()
        self.average = averaged_copy(generator)
        self.generator_optimizer = make_optimizer(generator, config)
        self.critic_optimizer = make_optimizer(critic, config)
        self.noise = torch.Generator(device).manual_seed(config.seed)
        self.differentiate = differentiate
        self.device = device
        self.group = group  # the processes that each take their rows of a batch


def train_steps(
    players: TrainState,
    next_batch: NextBatch,
    config: TrainConfig,
    start: int = 0,
    captured: TakeStep | None = None,
) -> Iterator[Step]:
    """Train for ever, yielding after each step; the caller stops by no longer asking.

    Args:
        players: what is trained, in place.
        next_batch: gives real images; of each batch only the group's `shard`.
        config: the settings of the algorithm.
        start: steps already done.
        captured: does what `take_step` does in fewer launches (`CapturedStep`). The values of a
            step that it yields hold until the next.
    """
    take = captured or take_step
    step = start
    while True:
        step += 1
        rate = learning_rate(config, step)
        set_learning_rate(players.critic_optimizer, rate)
        set_learning_rate(players.generator_optimizer, rate)

        critic_terms, loss = take(players, next_batch, config)

        decay = ema_decay(config.ema_half_life, step * config.batch_size, config.batch_size)
        update_average(players.average, players.generator, decay)
        yield Step(step, critic_terms, loss)


def take_step(players: TrainState, next_batch: NextBatch, config: TrainConfig) -> Outcome:
    """Let the critic take its `n_critic` steps, then the generator one (lines 2 to 12)."""
    real = next_batch()
    for update in range(config.n_critic):
        if update > 0 and config.fresh_batches:
            real = next_batch()
        terms = update_critic(players, real, config, update)
    return terms, update_generator(players, config)


def update_critic(
    players: TrainState, real: Tensor, config: TrainConfig, update: int = 0
) -> CriticLosses:
    """Let the critic take one step towards telling real from generated images.

    Args:
        players: of whom the critic moves.
        real: images `[n, c, h, w]`.
        config: the settings of the algorithm.
        update: which of the step's critic updates this is, counted from 0.
    """
    weight = penalty_weight(config, update)
    terms_of = partial(critic_terms, players, config, weight)
    players.critic_optimizer.zero_grad()
    seen = []
    for part in real.chunk(config.accumulate):
        inputs = [part, draw_latents(players, config)]
        if weight is not None:
            inputs.append(draw_epsilon(players, config, real.ndim))
        seen.append(players.differentiate(terms_of, tuple(inputs), 1 / config.accumulate))
    terms = _mean_terms(seen)
    players.group.average([*gradients(players.critic), *terms])
    players.critic_optimizer.step()
    if config.constraint == "clip":
        clip_weights(players.critic, config.clip_limit)
    return terms


def penalty_weight(config: TrainConfig, update: int) -> float | None:
    """The weight of the gradient penalty in a critic update of a step; None: it is not taken.

    With `gp_every` above 1 only every so many-th update takes the penalty, the last one among them,
    with a weight that makes up for the others: lazy regularisation (Karras et al. 2020, StyleGAN2,
    section 3.1).
    """
    if not config.has_penalty or (config.n_critic - 1 - update) % config.gp_every:
        return None
    taken = -(-config.n_critic // config.gp_every)
    return config.gp_weight * config.n_critic / taken


def critic_terms(
    players: TrainState,
    config: TrainConfig,
    penalty_weight: float | None,
    real: Tensor,
    latents: Tensor,
    epsilon: Tensor | None = None,
) -> CriticLosses:
    """The critic's loss on real images `[n, c, h, w]` and as many generated ones (equation 3).

    Latents are `[n, latent_dim]`; epsilon is needed where the penalty has a weight.
    """
    critic = autocast_fn(config.precision, players.critic, players.device)
    with torch.no_grad():  # the generator learns nothing from a critic update
        generated = draw_images(players, config, latents)

    if config.critic_norm == "batch":  # the critic would see other statistics in a joint batch
        real_scores, generated_scores = critic(real), critic(generated)
    else:
        real_scores, generated_scores = critic(torch.cat([real, generated])).chunk(2)
    wasserstein = wasserstein_estimate(real_scores, generated_scores)
    loss = -wasserstein

    penalty = norm = torch.zeros_like(loss)
    if penalty_weight is not None and epsilon is not None:
        norms = gradient_norms(critic, real, generated, epsilon)
        penalty, norm = gradient_penalty(norms, config.constraint == "one-sided"), norms.mean()
        loss = loss + penalty_weight * penalty
    if config.drift > 0:
        loss = loss + config.drift * drift_penalty(real_scores)
    return CriticLosses(wasserstein, penalty, norm, loss)


def update_generator(players: TrainState, config: TrainConfig) -> Tensor:
    """Let the generator take one step towards a higher score; returns its loss before the step."""
    terms_of = partial(generator_terms, players, config)
    players.generator_optimizer.zero_grad()
    seen = []
    with frozen(players.critic):  # its own gradients are not wanted here, and they would be work
        for _ in range(config.accumulate):
            latents = draw_latents(players, config)
            seen.append(players.differentiate(terms_of, (latents,), 1 / config.accumulate))
    terms = _mean_terms(seen)
    players.group.average([*gradients(players.generator), *terms])
    players.generator_optimizer.step()
    return terms.loss


def generator_terms(players: TrainState, config: TrainConfig, latents: Tensor) -> GeneratorLosses:
    """The generator's loss for latents `[n, latent_dim]` (Algorithm 1, line 12)."""
    critic = autocast_fn(config.precision, players.critic, players.device)
    return GeneratorLosses(generator_loss(critic(draw_images(players, config, latents))))


def draw_images(players: TrainState, config: TrainConfig, latents: Tensor) -> Tensor:
    """The generator's images for latents: `[n, latent_dim]` -> `[n, c, h, w]`."""
    return autocast_fn(config.precision, players.generator, players.device)(latents)


def draw_latents(players: TrainState, config: TrainConfig) -> Tensor:
    """Latents for one part of a batch, from the run's own noise; this process's rows."""
    shape = (config.batch_size // config.accumulate, config.latent_dim)
    drawn = torch.randn(shape, generator=players.noise, device=players.device)
    return drawn[players.group.shard]


def draw_epsilon(players: TrainState, config: TrainConfig, axes: int = 4) -> Tensor:
    """Where between real and generated images the penalty looks; as `draw_latents`.

    Uniform on [0, 1], one number for each image: `[n, 1, 1, 1]` for the 4 axes of images.
    """
    shape = (config.batch_size // config.accumulate, *[1] * (axes - 1))
    drawn = torch.rand(shape, generator=players.noise, device=players.device)
    return drawn[players.group.shard]


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Bring each weight back to [-limit, limit] (Arjovsky et al. 2017, Algorithm 1, line 7)."""
    torch._foreach_clamp_max_(list(critic.parameters()), limit)
    torch._foreach_clamp_min_(list(critic.parameters()), -limit)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let a network's weights take no gradients; those that its owner froze stay so."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def _mean_terms(parts: list[Terms]) -> Terms:
    """The terms of a whole batch from those of its parts, which are of one size."""
    return type(parts[0])(*(torch.stack(values).mean() for values in zip(*parts, strict=True)))
