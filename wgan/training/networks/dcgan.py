"""DCGAN networks.

Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (arXiv:1511.06434).
"""

from itertools import pairwise

from torch import Tensor, nn

from wgan.image_shape import Size
from wgan.training.networks.conditioning import (
    class_embedding,
    input_dim,
    join_classes,
    projection,
)
from wgan.training.networks.maps import crops, last_map_size, map_sizes
from wgan.training.networks.norms import LEAK, initialise_dcgan, initialise_he, norm_layers


class DCGANGenerator(nn.Module):
    """Transposed convolutions from a latent to an image: 1 -> 4 -> 8 -> ... -> size.

    At 64 pixels the feature maps are 16w, 8w, 4w, 2w, channels; each halving of the size removes
    the first layer. Batch norm and ReLU follow each layer but the last, which has Tanh. Other sizes
    have the maps of `map_sizes`.
    """

    def __init__(
        self, size: Size, channels: int, latent_dim: int, width: int, classes: int = 0
    ) -> None:
        super().__init__()
        sizes = map_sizes(size)
        features = [width << level for level in range(len(sizes) - 1, 0, -1)]
        *cropped, last = crops(sizes)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(input_dim(latent_dim, classes), features[0], sizes[0], bias=False),
            nn.BatchNorm2d(features[0]),
            nn.ReLU(inplace=True),
        ]
        for (before, after), crop in zip(pairwise(features), cropped, strict=True):
            layers += [
                self.upsampling(before, after, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
                *crop,
            ]
        layers += [self.upsampling(features[-1], channels, bias=True), *last, nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        initialise_dcgan(self)
        self.embedding = class_embedding(classes)

    def upsampling(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """Make a layer that doubles the size: `[n, inputs, h, w]` -> `[n, outputs, 2h, 2w]`."""
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images: `[n, latent_dim]` -> `[n, channels, h, w]` in [-1, 1]."""
        inputs = join_classes(latents, labels, self.embedding)
        images: Tensor = self.layers(inputs[:, :, None, None])
        return images


class DCGANCritic(nn.Module):
    """Strided convolutions from an image to an unbounded score: size -> ... -> 4 -> 1.

    At 64 pixels the feature maps are w, 2w, 4w, 8w, 1; each halving of the size removes the
    last but one layer. `norm` (see `norms.py`) follows each convolution but the last.
    """

    def __init__(self, size: Size, channels: int, width: int, norm: str, classes: int = 0) -> None:
        super().__init__()
        last = last_map_size(size)
        layers: list[nn.Module] = []
        inputs, features = channels, width
        for _ in map_sizes(size)[1:]:
            layers += [
                nn.Conv2d(inputs, features, 4, stride=2, padding=1, bias=norm == "none"),
                *norm_layers(norm, features),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
            inputs, features = features, 2 * features
        layers.append(nn.Conv2d(inputs, 1, last, stride=1, padding=0))
        self.layers = nn.Sequential(*layers)
        if norm == "none":
            initialise_he(self, LEAK)
        else:
            initialise_dcgan(self)
        self.projection = projection(classes, inputs * last[0] * last[1])

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score images: `[n, channels, h, w]` -> `[n]`, higher is more real."""
        maps = self.layers[:-1](images)
        scores: Tensor = self.layers[-1](maps).flatten()  # (n, 1, 1, 1) -> (n,)
        return scores if self.projection is None else scores + self.projection(maps, labels)
