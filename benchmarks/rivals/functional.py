"""The other way to compile an update that holds a gradient penalty, for benchmarks/training.py.

PyTorch's compiler does not differentiate twice what it compiles, but takes a gradient inside of it
where `torch.func.grad` asks for one. wgan traces both gradients instead (`training/compiled.py`).
"""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from wgan.training.loop import CriticLosses, GeneratorLosses, Terms
from wgan.training.losses import generator_loss, gradient_penalty, wasserstein_estimate


class FunctionalGradients:
    """Does what `wgan.training.loop.differentiate` does, for the recipe `wgan-gp` alone.

    In float32, with a penalty at each update and a batch in one piece.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, gp_weight: float) -> None:
        self._generator, self._critic, self._gp_weight = generator, critic, gp_weight
        self._critic_terms = torch.compile(self._eager_critic_terms)
        self._generator_terms = torch.compile(self._eager_generator_terms)

    def __call__(self, terms_of: partial[Terms], inputs: tuple[Tensor, ...], share: float) -> Terms:
        """Add gradients to the weights' own; a critic update's inputs are more than latents."""
        del terms_of
        assert share == 1
        terms: Any = (self._critic_terms if len(inputs) > 1 else self._generator_terms)(*inputs)
        terms.loss.backward()
        return cast("Terms", type(terms)(*(value.detach() for value in terms)))

    def _eager_critic_terms(self, real: Tensor, latents: Tensor, epsilon: Tensor) -> CriticLosses:
        with torch.no_grad():
            generated = self._generator(latents)
        scores = self._critic(torch.cat([real, generated])).chunk(2)
        wasserstein = wasserstein_estimate(*scores)
        x_hat = torch.lerp(generated, real, epsilon)
        gradient = torch.func.grad(lambda images: self._critic(images).sum())(x_hat)
        norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        penalty = gradient_penalty(norms)
        loss = self._gp_weight * penalty - wasserstein
        return CriticLosses(wasserstein, penalty, norms.mean(), loss)

    def _eager_generator_terms(self, latents: Tensor) -> GeneratorLosses:
        return GeneratorLosses(generator_loss(self._critic(self._generator(latents))))
