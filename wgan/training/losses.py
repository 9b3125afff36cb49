"""The losses and penalties as pure functions.

Those of WGAN-GP are from Gulrajani et al. 2017 (arXiv:1704.00028), those of R3GAN from Huang et al.
2024 (arXiv:2501.05441).

Scores are the critic's outputs, `[n]`. Each loss is a mean over the batch, so the learning rate
does not depend on the batch size.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from wgan.training.second_order import FastDoubleBackward

Critic = Callable[[Tensor], Tensor]
"""Maps images `[n, ...]` to scores `[n]`; the score of an image depends on that image only."""


def wasserstein_estimate(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Mean score of real minus generated images, a 0-d tensor.

    Positive while the critic can tell them apart, and falling as the generator learns: the
    negative of `critic_loss`.
    """
    return real_scores.mean() - generated_scores.mean()


def critic_loss(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Mean score of generated minus real images, a 0-d tensor: equation 3 without its penalty."""
    return generated_scores.mean() - real_scores.mean()


def generator_loss(generated_scores: Tensor) -> Tensor:
    """Negative mean score of generated images, a 0-d tensor (Algorithm 1, line 12)."""
    return -generated_scores.mean()


def relativistic_critic_loss(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Mean of `softplus(D(x_tilde) - D(x))` over pairs of images, a 0-d tensor.

    The relativistic pairing loss (Jolicoeur-Martineau 2019, arXiv:1807.00734; equation 2 of R3GAN):
    a real image need only score higher than the generated one that it is paired with.
    """
    return functional.softplus(generated_scores - real_scores).mean()


def relativistic_generator_loss(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Mean of `softplus(D(x) - D(G(z)))` over pairs of images, a 0-d tensor."""
    return functional.softplus(real_scores - generated_scores).mean()


def interpolates(real: Tensor, generated: Tensor, epsilon: Tensor) -> Tensor:
    """Images between real and generated ones (Algorithm 1, line 6), `[n, ...]`.

    `x_hat = epsilon x + (1 - epsilon) x_tilde`.

    Args:
        real: x, `[n, ...]`.
        generated: x_tilde, of the same shape, detached from the generator.
        epsilon: uniform on [0, 1], one per image: `[n, 1, 1, 1]` for `[n, c, h, w]`.
    """
    return torch.lerp(generated, real, epsilon)


def gradient_norms(critic: Critic, images: Tensor) -> Tensor:
    """Norms of the critic's gradient at images `[n, ...]`: `||grad_x D(x)||_2`, `[n]`.

    Each image has one norm, over all of its values. Differentiable with respect to the critic's
    parameters.
    """
    x = images.detach().requires_grad_()
    # FastDoubleBackward changes the speed only: the result is that of plain autograd.grad.
    with FastDoubleBackward() as mode:
        scores = critic(x)
    with mode.no_weight_gradients():
        # No score depends on another image, so the gradient of the sum has every image's own.
        # The penalty is itself differentiated, by the critic's weights: create_graph.
        (gradient,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    # (n, ...) -> (n,). vector_norm has gradient 0 at 0, where the sqrt of a sum has NaN.
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return norms


def gradient_penalty(norms: Tensor, one_sided: bool = False) -> Tensor:
    """Mean squared distance of `gradient_norms` from 1, a 0-d tensor: `E[(norm - 1)^2]`.

    The two-sided penalty is equation 3. One-sided, only norms above 1 count: `E[max(0, norm -
    1)^2]` (section 4; Petzka et al. 2018, arXiv:1709.08894, recommend it).
    """
    excess = (norms - 1).relu() if one_sided else norms - 1
    penalty: Tensor = excess.square().mean()
    return penalty


def zero_centred_penalty(norms: Tensor) -> Tensor:
    """Mean squared norm of the gradient, a 0-d tensor: `E[norm^2]`.

    With the norms at as many real as generated images it is `(R1 + R2) / 2`, which R3GAN weighs by
    gamma (Mescheder et al. 2018, arXiv:1801.04406, section 4.1).
    """
    penalty: Tensor = norms.square().mean()
    return penalty


def drift_penalty(real_scores: Tensor) -> Tensor:
    """Mean squared score of real images, a 0-d tensor: keeps the scores near 0.

    The other losses depend on differences of scores only. Karras et al. 2018 (arXiv:1710.10196,
    appendix A.1) add it with weight 0.001.
    """
    return real_scores.square().mean()
