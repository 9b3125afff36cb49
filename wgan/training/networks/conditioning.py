"""What makes the networks conditional: a class embedding for generators, a projection for critics.

A conditional generator is called with latents `[n, latent_dim]` and labels `[n]`, a conditional
critic with images and labels; without classes both take one argument.
"""

import torch
from torch import Tensor, nn

CLASS_DIM = 8
"""Numbers in a class's embedding, which is joined to the latent.

Few, beside the 128 of a latent: with 64 the class outweighs the latent in the first layer, and the
images of a class become alike.
"""


def class_embedding(classes: int) -> nn.Embedding | None:
    """Return the embedding of a generator's classes; None for a generator without classes.

    Its values are standard normal, as latents are.
    """
    return nn.Embedding(classes, CLASS_DIM) if classes else None


def input_dim(latent_dim: int, classes: int) -> int:
    """Return the length of a latent with its class's embedding."""
    return latent_dim + (CLASS_DIM if classes else 0)


def join_classes(latents: Tensor, labels: Tensor | None, embedding: nn.Embedding | None) -> Tensor:
    """Join each latent and its class's embedding: `[n, latent_dim]` -> `[n, input_dim]`.

    Class-conditional batch norm, the usual alternative, cannot be folded into a convolution when
    the generator is exported. Joined, the classes leave every layer but the first as it is.
    """
    if embedding is None:
        assert labels is None, "a generator without classes takes no labels"
        return latents
    assert labels is not None, "a conditional generator takes labels"
    return torch.cat([latents, embedding(labels)], dim=1)


class ClassProjection(nn.Module):
    """The part of a critic's score that depends on the class: `<embedding of the class, features>`.

    Miyato & Koyama 2018, "cGANs with Projection Discriminator" (arXiv:1802.05637), section 3;
    the features are what the critic's last layer sees.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, features)
        nn.init.normal_(self.embedding.weight, 0.0, features**-0.5)  # keeps the signal's scale

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features `[n, ...]` and labels `[n]` -> `[n]`."""
        embedded: Tensor = self.embedding(labels)
        return (embedded * features.flatten(1)).sum(dim=1)


def projection(classes: int, features: int) -> ClassProjection | None:
    """Return the projection of a critic's classes; None for a critic without classes."""
    return ClassProjection(classes, features) if classes else None
