"""WGAN-GP training, Algorithm 1 of Gulrajani et al. 2017 (arXiv:1704.00028), from top to bottom.

    while not converged:                                    train_steps
        for n_critic updates:
            sample real x                                   training_step
            sample latents z, epsilon ~ U[0, 1]             critic_losses
            x_tilde = G(z)
            x_hat = epsilon x + (1 - epsilon) x_tilde       losses.interpolates
            L = D(x_tilde) - D(x) + lambda (||grad D(x_hat)|| - 1)^2
            w = Adam(mean L)                                update_critic
        sample latents z
        theta = Adam(mean -D(G(z)))                         update_generator

`train_steps` is a generator that yields after each generator update; its caller logs, draws
previews, saves and decides when to stop. Nothing here waits for the device: no `.item()`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.training.augmentation import augment
from wgan.training.config import TrainConfig
from wgan.training.data.batches import Batch
from wgan.training.device import autocast_fn
from wgan.training.distributed.process_group import gradients
from wgan.training.losses import (
    critic_loss,
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
from wgan.training.state import TrainState, at_step, ema_decay, set_rates, update_ema


class CriticLosses(NamedTuple):
    """Losses of a critic update, taken before its optimiser step; 0-d tensors."""

    wasserstein: Tensor  # mean critic score of real minus generated images
    gradient_penalty: Tensor  # without its weight; 0 in an update that has no penalty
    gradient_norm: Tensor  # mean over the images; 0 in an update that has no penalty
    loss: Tensor


@dataclass(frozen=True)
class Step:
    """One generator update with its critic updates.

    The losses stay on the device: `float(step.generator_loss)` is a CPU-GPU sync point.
    """

    number: int  # counted from 1
    critic: CriticLosses  # of the last critic update
    generator_loss: Tensor


NextBatch = Callable[[], Tensor | Batch]
"""Returns a new batch of real images `[batch_size, c, h, w]` in [-1, 1] on the device.

In a conditional run a `Batch`: the images and their labels.
"""

NetworkFn = Callable[[Tensor], Tensor]
"""A network as a function of latents or images only; the labels of a conditional one are fixed."""

StepResult = tuple[CriticLosses, Tensor]
"""Losses of a step: those of its last critic update, and the generator's."""

StepFn = Callable[[TrainState, NextBatch, TrainConfig], StepResult]
"""`training_step`, or what computes the same faster: the CUDA graph of `cuda_graph.py`."""


def train_steps(
    state: TrainState,
    next_batch: NextBatch,
    config: TrainConfig,
    start: int = 0,
    step_fn: StepFn | None = None,
) -> Iterator[Step]:
    """Train without end, yielding after each step.

    Args:
        state: trained in place.
        next_batch: returns real images, only those of this rank.
        config: the hyperparameters.
        start: number of steps already done.
        step_fn: replaces `training_step`. The losses of a CUDA graph are overwritten by the next
            step.
    """
    take_step = step_fn or training_step
    for number in count(start + 1):
        now = at_step(config, number)  # the learning rate falls
        set_rates(state.critic_optimizer, now)
        set_rates(state.generator_optimizer, now)

        critic, loss = take_step(state, next_batch, now)

        # Not in the paper: images are drawn from the moving average of the generator's weights.
        decay = ema_decay(now.ema_half_life, number * config.batch_size, config.batch_size)
        update_ema(state.generator_ema, state.generator, decay)
        yield Step(number, critic, loss)


def training_step(state: TrainState, next_batch: NextBatch, config: TrainConfig) -> StepResult:
    """Update the critic `n_critic` times, then the generator once: the body of the outer loop."""
    real = Batch.of(next_batch())
    for update in range(config.n_critic):
        if update > 0 and config.fresh_batches:
            real = Batch.of(next_batch())
        losses = update_critic(state, real, config, update)
    if config.loss == "relativistic" and config.fresh_batches:
        real = Batch.of(next_batch())  # the Wasserstein loss of the generator has no real images
    return losses, update_generator(state, real, config)


def update_critic(
    state: TrainState, real: Batch, config: TrainConfig, update: int = 0
) -> CriticLosses:
    """Take one optimiser step of the critic: the body of the inner loop.

    Args:
        state: its critic is updated.
        real: images `[n, c, h, w]`, with labels `[n]` in a conditional run.
        config: the hyperparameters.
        update: index of this critic update in its step, from 0.

    Raises:
        UsageError: `real` is not this rank's share of `config.batch_size` images.
    """
    share, count = config.batch_size // state.group.size, len(real.images)
    if count != share:
        raise UsageError(f"a batch has {count} images, but batch_size asks for {share}")
    weight = penalty_weight(config, update)
    state.critic_optimizer.zero_grad()
    parts = []
    # Gradient accumulation: each backward() adds its share to the gradients, then one step.
    for part in real.parts(config.accumulate):
        losses = critic_losses(state, part, config, weight)
        (losses.loss / config.accumulate).backward()
        parts.append([value.detach() for value in losses])
    means = CriticLosses(*(torch.stack(values).mean() for values in zip(*parts, strict=True)))
    state.group.average([*gradients(state.critic), *means])  # in place, over all ranks
    state.critic_optimizer.step()
    if config.constraint == "clip":
        clip_weights(state.critic, config.clip_limit)
    return means


def critic_losses(
    state: TrainState, batch: Batch, config: TrainConfig, weight: float | None
) -> CriticLosses:
    """Critic loss on real images `[n, c, h, w]` and as many generated ones (equation 3).

    In a conditional run image i is generated for the label of real image i, so that the images
    between the two have that label as well.

    `weight` is that of the gradient penalty; None leaves the penalty out.

    Raises:
        UsageError: the real images have another shape than the generated ones.
    """
    generator, critic = networks(state, config, batch.labels)
    real = batch.images
    with torch.no_grad():  # the generator gets no gradients from a critic update
        generated = generator(sample_latents(state, config))
    if real.shape != generated.shape:
        raise UsageError(
            f"the real images have the shape {list(real.shape)} and the generated ones"
            f" {list(generated.shape)}: give images of the generator's size and channels"
        )
    # Not in the paper: the critic sees augmented images only. So are those between them.
    real, generated = augmented(state, real, config), augmented(state, generated, config)

    if config.critic_norm == "batch":  # keep the batch statistics of both kinds separate
        real_scores, generated_scores = critic(real), critic(generated)
    else:  # one pass of twice the size is faster than two
        real_scores, generated_scores = critic(torch.cat([real, generated])).chunk(2)
    if config.loss == "relativistic":
        loss = relativistic_critic_loss(real_scores, generated_scores)
    else:
        loss = critic_loss(real_scores, generated_scores)
    wasserstein = wasserstein_estimate(real_scores, generated_scores)

    penalty = mean_norm = torch.zeros_like(loss)
    if weight is not None:
        if config.constraint == "zero-centred":
            norms = gradient_norms(critic, torch.cat([real, generated]))
            penalty = zero_centred_penalty(norms)
        else:
            epsilon = sample_epsilon(state, config, real.ndim)
            norms = gradient_norms(critic, interpolates(real, generated, epsilon))
            penalty = gradient_penalty(norms, one_sided=config.constraint == "one-sided")
        mean_norm = norms.mean()
        loss = loss + weight * penalty
    if config.drift > 0:
        loss = loss + config.drift * drift_penalty(real_scores)
    return CriticLosses(wasserstein, penalty, mean_norm, loss)


def update_generator(state: TrainState, real: Batch, config: TrainConfig) -> Tensor:
    """Take one optimiser step of the generator; returns its loss before the step.

    The images are generated for the labels of `real`, which have the data's class frequencies: the
    critic compares how images look, not how often their class occurs. Only the relativistic loss
    looks at the images of `real`, `[n, c, h, w]`.
    """
    state.generator_optimizer.zero_grad()
    parts = []
    with frozen(state.critic):  # saves computing gradients that no optimiser step uses
        for part in real.parts(config.accumulate):
            generator, critic = networks(state, config, part.labels)
            generated = generator(sample_latents(state, config))
            generated_scores = critic(augmented(state, generated, config))
            if config.loss == "relativistic":
                real_scores = critic(augmented(state, part.images, config))
                loss = relativistic_generator_loss(real_scores, generated_scores)
            else:
                loss = generator_loss(generated_scores)
            (loss / config.accumulate).backward()
            parts.append(loss.detach())
    mean = torch.stack(parts).mean()
    state.group.average([*gradients(state.generator), mean])
    state.generator_optimizer.step()
    return mean


def networks(
    state: TrainState, config: TrainConfig, labels: Tensor | None
) -> tuple[NetworkFn, NetworkFn]:
    """Return the generator and the critic as functions of one argument.

    They compute in the run's precision, for the classes `labels`, `[n]`, of a conditional run. An
    input of 2 n images, real and then generated ones, has these labels twice.
    """

    def with_labels(network: nn.Module) -> NetworkFn:
        run = autocast_fn(config.precision, network, state.device)
        if labels is None:
            return run
        return lambda inputs: run(inputs, labels.repeat(len(inputs) // len(labels)))

    return with_labels(state.generator), with_labels(state.critic)


def penalty_weight(config: TrainConfig, update: int) -> float | None:
    """Weight of the gradient penalty in a critic update of a step; None for no penalty.

    With `gp_every` above 1, only every N-th update has the penalty, scaled up to compensate: lazy
    regularisation (Karras et al. 2020, StyleGAN2, section 3.1). The last update, whose losses are
    logged, always has it.
    """
    has_penalty_now = (config.n_critic - 1 - update) % config.gp_every == 0
    if not config.has_penalty or not has_penalty_now:
        return None
    penalties = math.ceil(config.n_critic / config.gp_every)  # in a step
    return config.gp_weight * config.n_critic / penalties


def augmented(state: TrainState, images: Tensor, config: TrainConfig) -> Tensor:
    """Augment images `[n, c, h, w]`, each in its own way; with `augment` "none", return them."""
    return augment(images, config.augment, lambda: sample_epsilon(state, config))


def sample_latents(state: TrainState, config: TrainConfig) -> Tensor:
    """Sample latents for one part of a batch, `[n, latent_dim]`.

    Every rank samples for the whole batch and keeps its own rows, so the number of ranks does not
    change the random numbers.
    """
    shape = (config.batch_size // config.accumulate, config.latent_dim)
    latents = torch.randn(shape, generator=state.rng, device=state.device)
    return latents[state.group.shard]


def sample_epsilon(state: TrainState, config: TrainConfig, ndim: int = 4) -> Tensor:
    """Sample the penalty's interpolation factors, uniform on [0, 1], like `sample_latents`.

    One per image: `[n, 1, 1, 1]` for images, which have 4 dimensions.
    """
    shape = (config.batch_size // config.accumulate, *[1] * (ndim - 1))
    epsilon = torch.rand(shape, generator=state.rng, device=state.device)
    return epsilon[state.group.shard]


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Clip each weight to [-limit, limit] (Arjovsky et al. 2017, Algorithm 1, line 7)."""
    for weight in critic.parameters():
        weight.clamp_(-limit, limit)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Turn off the gradients of a network's parameters; those that were off stay off."""
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in trainable:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in trainable:
            weight.requires_grad_(True)
