"""Algorithm 1 of the WGAN-GP paper in plain PyTorch, without any optimisation.

What the fast loop is compared with: separate passes, PyTorch's own gradients, its plainest Adam.
"""

import copy

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig
from wgan.training.data import Batch
from wgan.training.loop import NextBatch


class PlainLoop:
    """Both networks, their optimisers and the EMA."""

    def __init__(self, generator: nn.Module, critic: nn.Module, config: TrainConfig) -> None:
        self.generator, self.critic, self.config = generator, critic, config
        self.average = copy.deepcopy(generator)
        betas = (config.beta1, config.beta2)
        plain = {"fused": False, "foreach": False}
        self.adam_g = torch.optim.Adam(generator.parameters(), config.learning_rate, betas, **plain)
        self.adam_c = torch.optim.Adam(critic.parameters(), config.learning_rate, betas, **plain)
        self.noise = torch.Generator().manual_seed(config.seed)

    def step(self, number: int, next_batch: NextBatch) -> list[float]:
        """Take a step; returns the last critic update's losses and the generator's loss."""
        config = self.config
        x, *y = Batch.of(next_batch()).inputs
        for t in range(config.n_critic):
            if t > 0 and config.fresh_batches:
                x, *y = Batch.of(next_batch()).inputs
            terms = self._critic_update(x, *y)
        self.adam_g.zero_grad()
        loss = -self.critic(self.generator(self._latents(), *y), *y).mean()
        loss.backward()
        self.adam_g.step()
        self._average(number)
        return [*terms, float(loss.detach())]

    def _critic_update(self, x: Tensor, *y: Tensor) -> list[float]:
        x_tilde = self.generator(self._latents(), *y).detach()
        epsilon = torch.rand(len(x), 1, 1, 1, generator=self.noise)
        estimate = self.critic(x, *y).mean() - self.critic(x_tilde, *y).mean()
        x_hat = (epsilon * x + (1 - epsilon) * x_tilde).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(x_hat, *y).sum(), x_hat, create_graph=True)
        norm = slope.square().sum(dim=(1, 2, 3)).sqrt()
        penalty = (norm - 1).square().mean()
        loss = -estimate + self.config.gp_weight * penalty
        self.adam_c.zero_grad()
        loss.backward()
        self.adam_c.step()
        return [float(value.detach()) for value in (estimate, penalty, norm.mean(), loss)]

    def _latents(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.config.latent_dim, generator=self.noise)

    @torch.no_grad()
    def _average(self, number: int) -> None:
        half_life = min(self.config.ema_half_life, 0.05 * number * self.config.batch_size)
        stays = 0.5 ** (self.config.batch_size / half_life)
        pairs = zip(self.average.parameters(), self.generator.parameters(), strict=True)
        for old, new in pairs:
            old.copy_(stays * old + (1 - stays) * new)
