"""Two other WGAN-GP loops, for any pair of networks, for benchmarks/training.py.

`article_step` is the loop of a tutorial's WGAN-GP, which `--recipe article` follows: one real batch
for all critic updates, separate passes for real and generated images, an unused graph through the
generator, `retain_graph`, and `.item()` after each update. `usual_step` is the loop of most WGAN-GP
repositories: a fresh batch for each update, and no gradients through the generator. Both use
PyTorch's defaults.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

NextBatch = Callable[[], Tensor]
"""Returns real images in host memory, as a DataLoader does."""


class Rival:
    """Networks, optimisers and settings of a loop."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        betas: tuple[float, float],
        n_critic: int,
        latent_dim: int,
        device: torch.device,
    ) -> None:
        self.generator, self.critic = generator.to(device), critic.to(device)
        self.generator_optimizer = torch.optim.Adam(generator.parameters(), 1e-4, betas)
        self.critic_optimizer = torch.optim.Adam(critic.parameters(), 1e-4, betas)
        self.n_critic, self.latent_dim, self.device = n_critic, latent_dim, device
        self.losses: list[tuple[float, float]] = []

    def draw(self, n: int) -> Tensor:
        """Generate images."""
        return self.generator(torch.randn(n, self.latent_dim, device=self.device))


def article_step(rival: Rival, next_batch: NextBatch) -> None:
    """Take a step of the article's loop."""
    real = next_batch().to(rival.device)
    critic_loss = 0.0
    for _ in range(rival.n_critic):
        rival.critic_optimizer.zero_grad()
        generated = rival.draw(len(real))
        generated_scores = rival.critic(generated.detach())
        real_scores = rival.critic(real)
        alpha = torch.rand(len(real), 1, 1, 1, device=rival.device, requires_grad=True)
        penalty = _penalty(rival.critic, real, generated.detach(), alpha)
        loss = generated_scores.mean() - real_scores.mean() + 10 * penalty
        critic_loss += loss.item() / rival.n_critic
        loss.backward(retain_graph=True)
        rival.critic_optimizer.step()
    _update_generator(rival, len(real), critic_loss)


def usual_step(rival: Rival, next_batch: NextBatch) -> None:
    """Take a step of a usual loop."""
    critic_loss = 0.0
    for _ in range(rival.n_critic):
        real = next_batch().to(rival.device)
        rival.critic_optimizer.zero_grad()
        with torch.no_grad():
            generated = rival.draw(len(real))
        real_loss = -rival.critic(real).mean()
        generated_loss = rival.critic(generated).mean()
        alpha = torch.rand(len(real), 1, 1, 1, device=rival.device)
        loss = real_loss + generated_loss + 10 * _penalty(rival.critic, real, generated, alpha)
        loss.backward()
        rival.critic_optimizer.step()
        critic_loss = loss.item()
    _update_generator(rival, len(real), critic_loss)


def _update_generator(rival: Rival, n: int, critic_loss: float) -> None:
    rival.generator_optimizer.zero_grad()
    loss = -rival.critic(rival.draw(n)).mean()
    loss.backward()
    rival.generator_optimizer.step()
    rival.losses.append((critic_loss, loss.item()))


def _penalty(critic: nn.Module, real: Tensor, generated: Tensor, alpha: Tensor) -> Tensor:
    mixed = alpha * real + (1 - alpha) * generated
    if not mixed.requires_grad:
        mixed.requires_grad_()
    scores = critic(mixed)
    (gradient,) = torch.autograd.grad(
        outputs=scores,
        inputs=mixed,
        grad_outputs=torch.ones_like(scores),
        create_graph=True,
        retain_graph=True,
    )
    penalty: Tensor = ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
    return penalty
