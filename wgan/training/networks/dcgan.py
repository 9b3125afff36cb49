"""DCGAN networks, for images of 32, 64 or 128 pixels.

Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks" (arXiv:1511.06434).
"""

from torch import Tensor, nn

from wgan.training.networks.norms import LEAK, initialise_dcgan, initialise_he, norm_layers


class DCGANGenerator(nn.Module):
    """Transposed convolutions from a latent to an image: 1 -> 4 -> 8 -> ... -> size.

    At 64 pixels the feature maps are 16w, 8w, 4w, 2w, channels; each halving of the size removes
    the first layer. Batch norm and ReLU follow each layer but the last, which has Tanh.
    """

    def __init__(self, size: int, channels: int, latent_dim: int, width: int) -> None:
        super().__init__()
        depth = _doublings(size)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, width << depth, 4, stride=1, padding=0, bias=False),
            nn.BatchNorm2d(width << depth),
            nn.ReLU(inplace=True),
        ]
        for level in range(depth, 1, -1):
            features = width << (level - 1)
            layers += [
                nn.ConvTranspose2d(2 * features, features, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(features),
                nn.ReLU(inplace=True),
            ]
        layers += [
            nn.ConvTranspose2d(2 * width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        ]
        self.layers = nn.Sequential(*layers)
        initialise_dcgan(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Generate images: `[n, latent_dim]` -> `[n, channels, size, size]` in [-1, 1]."""
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class DCGANCritic(nn.Module):
    """Strided convolutions from an image to an unbounded score: size -> ... -> 4 -> 1.

    At 64 pixels the feature maps are w, 2w, 4w, 8w, 1; each halving of the size removes the
    last but one layer. `norm` (see `norms.py`) follows each convolution but the last.
    """

    def __init__(self, size: int, channels: int, width: int, norm: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, features = channels, width
        for _ in range(_doublings(size)):
            layers += [
                nn.Conv2d(inputs, features, 4, stride=2, padding=1, bias=norm == "none"),
                *norm_layers(norm, features),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
            inputs, features = features, 2 * features
        layers.append(nn.Conv2d(inputs, 1, 4, stride=1, padding=0))
        self.layers = nn.Sequential(*layers)
        if norm == "none":
            initialise_he(self, LEAK)
        else:
            initialise_dcgan(self)

    def forward(self, images: Tensor) -> Tensor:
        """Score images: `[n, channels, size, size]` -> `[n]`, higher is more real."""
        scores: Tensor = self.layers(images)
        return scores.flatten()  # (n, 1, 1, 1) -> (n,)


def _doublings(size: int) -> int:
    """Number of doublings from 4 pixels to `size`."""
    return size.bit_length() - 3
