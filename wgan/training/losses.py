"""The WGAN-GP losses as pure functions (Gulrajani et al. 2017, arXiv:1704.00028).

Scores are the critic's outputs, `[n]`. Each loss is a mean over the batch, so that the learning
rate does not depend on the batch size. Nothing here knows a network's insides.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Critic = Callable[[Tensor], Tensor]
"""Maps images `[n, ...]` to scores `[n]`, each from its own image alone."""


def wasserstein_estimate(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Mean score of real minus generated images, a 0-d tensor.

    Positive while the critic can tell them apart; it falls as the generator learns. The critic's
    loss is minus this, plus the penalty (equation 3, first part).
    """
    return real_scores.mean() - generated_scores.mean()


def generator_loss(generated_scores: Tensor) -> Tensor:
    """Minus the mean score of generated images, a 0-d tensor (Algorithm 1, line 12)."""
    return -generated_scores.mean()


def gradient_penalty(critic: Critic, real: Tensor, generated: Tensor, epsilon: Tensor) -> Tensor:
    """How far the critic's gradient norm is from 1 between real and generated images.

    `E[(||grad_x D(x_hat)||_2 - 1)^2]`, `x_hat = epsilon x + (1 - epsilon) x_tilde` (equation 3,
    Algorithm 1, lines 6 and 7). The norm is taken for each image over all of its values.

    Args:
        critic: maps images to scores, each from its own image alone.
        real: x, `[n, ...]`.
        generated: x_tilde, of the same shape, detached from the generator.
        epsilon: uniform on [0, 1], one for each image: `[n, 1, 1, 1]` for `[n, c, h, w]`.

    Returns:
        A 0-d tensor that can be differentiated by the critic's parameters.
    """
    x_hat = torch.lerp(generated, real, epsilon).requires_grad_()
    # The sum lets one backward pass give each image's own gradient: scores do not mix images.
    (gradient,) = torch.autograd.grad(critic(x_hat).sum(), x_hat, create_graph=True)
    # (n, ...) -> (n,). vector_norm has gradient 0 at 0, where sqrt of a sum would give NaN.
    norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty
