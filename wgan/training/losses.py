"""The WGAN-GP losses as pure functions (Gulrajani et al. 2017, arXiv:1704.00028).

Scores are the critic's outputs, `[n]`. Each loss is a mean over the batch, so that the learning
rate does not depend on the batch size. Nothing here knows a network's insides.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from wgan.training.second_order import FastDoubleBackward

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


def gradient_norms(critic: Critic, real: Tensor, generated: Tensor, epsilon: Tensor) -> Tensor:
    """How steep the critic is between real and generated images: one norm for each, `[n]`.

    `||grad_x D(x_hat)||_2`, `x_hat = epsilon x + (1 - epsilon) x_tilde` (Algorithm 1, lines 6
    and 7). The norm is taken for each image over all of its values.

    Args:
        critic: maps images to scores, each from its own image alone.
        real: x, `[n, ...]`.
        generated: x_tilde, of the same shape, detached from the generator.
        epsilon: uniform on [0, 1], one for each image: `[n, 1, 1, 1]` for `[n, c, h, w]`.

    Returns:
        `[n]`, and it can be differentiated by the critic's parameters.
    """
    x_hat = torch.lerp(generated, real, epsilon).requires_grad_()
    with FastDoubleBackward() as operations:
        scores = critic(x_hat)
    with operations.no_weight_gradients():
        # The sum lets one backward pass give each image's own gradient: scores do not mix images.
        (gradient,) = torch.autograd.grad(scores.sum(), x_hat, create_graph=True)
    # (n, ...) -> (n,). vector_norm has gradient 0 at 0, where sqrt of a sum would give NaN.
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def gradient_penalty(norms: Tensor, one_sided: bool = False) -> Tensor:
    """How far `gradient_norms` are from 1, a 0-d tensor: `E[(norm - 1)^2]` (equation 3).

    One-sided, only norms above 1 count: `E[max(0, norm - 1)^2]` (section 4, "Two-sided penalty";
    Petzka et al. 2018, arXiv:1709.08894, argue for it).
    """
    excess = (norms - 1).relu() if one_sided else norms - 1
    penalty: Tensor = excess.square().mean()
    return penalty


def drift_penalty(real_scores: Tensor) -> Tensor:
    """Mean square of the real images' scores, a 0-d tensor: keeps them from wandering off.

    The other losses see only differences of scores. Karras et al. 2018 (arXiv:1710.10196,
    appendix A.1) add it with the weight 0.001.
    """
    return real_scores.square().mean()
