"""ResNets of the WGAN-GP paper (Gulrajani et al. 2017, appendix F).

The paper's network for 32 pixels has 128 feature maps (`width`) in every layer; each doubling of
the size adds a block.
"""

from torch import Tensor, nn
from torch.nn import functional

from wgan.image_shape import Size
from wgan.training.networks.conditioning import (
    class_embedding,
    input_dim,
    join_classes,
    projection,
)
from wgan.training.networks.maps import crops, map_sizes
from wgan.training.networks.norms import initialise_he, norm_layers


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: `[n, inputs, s, s]` -> `[n, outputs, s', s']`.

    `scale` is 2 to double the size (nearest, before the first convolution), 0.5 to halve it (mean,
    after the second), 1 to leave it. `is_first` is for a block that reads images: no norm and no
    activation before its first convolution, which has `outputs` maps.
    """

    def __init__(
        self, inputs: int, outputs: int, scale: float, norm: str, is_first: bool = False
    ) -> None:
        super().__init__()
        hidden = inputs if scale < 1 and not is_first else outputs
        self.residual = nn.Sequential(
            *([] if is_first else [*norm_layers(norm, inputs), nn.ReLU()]),
            *([nn.Upsample(scale_factor=2.0)] if scale > 1 else []),
            nn.Conv2d(inputs, hidden, 3, padding=1),
            *norm_layers(norm, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 3, padding=1),
            *([nn.AvgPool2d(2)] if scale < 1 else []),
        )
        self.shortcut = nn.Sequential(
            *([nn.Upsample(scale_factor=2.0)] if scale > 1 else []),
            *([nn.AvgPool2d(2)] if scale < 1 else []),
            *([nn.Conv2d(inputs, outputs, 1)] if inputs != outputs or scale != 1 else []),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Add the residual to the shortcut."""
        added: Tensor = self.residual(maps) + self.shortcut(maps)
        return added


class ResNetGenerator(nn.Module):
    """A linear layer to 4x4, a block per doubling, a convolution to the channels, Tanh.

    Other sizes have the maps of `map_sizes`.
    """

    def __init__(
        self, size: Size, channels: int, latent_dim: int, width: int, classes: int = 0
    ) -> None:
        super().__init__()
        sizes = map_sizes(size)
        self.first_size = height, across = sizes[0]
        self.first = nn.Linear(input_dim(latent_dim, classes), width * height * across)
        blocks: list[nn.Module] = []
        for crop in crops(sizes):
            blocks += [ResidualBlock(width, width, 2, norm="batch"), *crop]
        self.layers = nn.Sequential(
            *blocks,
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )
        initialise_he(self)
        self.embedding = class_embedding(classes)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images: `[n, latent_dim]` -> `[n, channels, h, w]` in [-1, 1]."""
        inputs = join_classes(latents, labels, self.embedding)
        maps = self.first(inputs).unflatten(1, (-1, *self.first_size))
        images: Tensor = self.layers(maps)
        return images


class ResNetCritic(nn.Module):
    """Blocks that halve the size down to 8x8, two that keep it, a mean over pixels, a score.

    Other sizes end at a shorter side of 8 to 15.
    """

    def __init__(self, size: Size, channels: int, width: int, norm: str, classes: int = 0) -> None:
        super().__init__()
        halvings = len(map_sizes(size)) - 2
        self.blocks = nn.Sequential(
            ResidualBlock(channels, width, 0.5, norm="none", is_first=True),
            *[ResidualBlock(width, width, 0.5, norm) for _ in range(halvings - 1)],
            ResidualBlock(width, width, 1, norm),
            ResidualBlock(width, width, 1, norm),
        )
        self.last = nn.Linear(width, 1)
        initialise_he(self)
        self.projection = projection(classes, width)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images: `[n, channels, h, w]` -> `[n]`, higher is more real."""
        features = functional.relu(self.blocks(images)).mean(dim=(2, 3))
        scores: Tensor = self.last(features).flatten()  # (n, 1) -> (n,)
        return scores if self.projection is None else scores + self.projection(features, labels)
