"""Generators with classes for tests of exports: small networks that take labels."""

import functools

import torch
from torch import Tensor, nn

from tests.checkpoints import trained_checkpoint
from wgan.training.networks import folded

LATENT_DIM, EMBEDDING = 12, 4


@functools.cache
def _trained() -> nn.Module:
    return folded(trained_checkpoint(latent_dim=LATENT_DIM + EMBEDDING).ema_generator())


class Embedding(nn.Module):
    """A trained generator whose latents are joined with an embedding of the label."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, EMBEDDING)
        nn.init.normal_(self.embedding.weight, generator=torch.Generator().manual_seed(5))
        self.generator = folded(
            trained_checkpoint(latent_dim=LATENT_DIM + EMBEDDING).ema_generator()
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        images: Tensor = self.generator(torch.cat([latents, self.embedding(labels)], dim=1))
        return images


class OneHot(Embedding):
    """The same with one-hot vectors, as networks of one's own may write it."""

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Compare each label with every class, and cast."""
        table = self.embedding.weight
        hot = (labels[:, None] == torch.arange(len(table))).to(latents.dtype)
        images: Tensor = self.generator(torch.cat([latents, hot @ table], dim=1))
        return images


class ByChannel(nn.Module):
    """Class-conditional scales and shifts of the feature maps (de Vries et al. 2017)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(6)
        self.first = nn.ConvTranspose2d(LATENT_DIM, 16, 4)
        self.scale, self.shift = nn.Embedding(classes, 16), nn.Embedding(classes, 16)
        self.second = nn.ConvTranspose2d(16, 16, 4, stride=2, padding=1)
        self.last = nn.ConvTranspose2d(16, 3, 4, stride=2, padding=1)
        for weight in self.parameters():
            nn.init.normal_(weight, 0.0, 0.2, generator=random)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        maps = self.first(latents[:, :, None, None])
        scale, shift = self.scale(labels)[:, :, None, None], self.shift(labels)[:, :, None, None]
        maps = torch.relu(maps * (1 + scale) + shift)
        images: Tensor = torch.tanh(self.last(torch.relu(self.second(maps))))
        return images
