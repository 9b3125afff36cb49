"""The article's (DCGAN) generator and critic, for pictures of 32, 64 or 128 pixels.

Radford et al. 2015, "Unsupervised Representation Learning with Deep Convolutional Generative
Adversarial Networks". Any other pair of modules works with the losses and the loop as well:
a generator maps latents `[n, latent_dim]` to images `[n, channels, size, size]` in [-1, 1], a
critic maps images to scores `[n]`.
"""

import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig

INIT_STD = 0.02
"""Standard deviation of new weights beside batch norm (DCGAN, section 4)."""

LEAK = 0.2
"""Slope of the critic's LeakyReLU for negative inputs (DCGAN, section 4)."""


class Generator(nn.Module):
    """Transposed convolutions from a latent to an image: 1 -> 4 -> 8 -> ... -> size.

    At 64 pixels the feature maps are 16w, 8w, 4w, 2w, channels; each halving of the size takes
    away the first layer. Batch norm and ReLU after each, Tanh last.
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
        _initialise(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Draw images: `[n, latent_dim]` -> `[n, channels, size, size]` in [-1, 1]."""
        images: Tensor = self.layers(latents[:, :, None, None])
        return images


class Critic(nn.Module):
    """Strided convolutions from an image to a score that is not squashed: size -> ... -> 4 -> 1.

    At 64 pixels the feature maps are w, 2w, 4w, 8w, 1; each halving of the size takes away the
    last but one layer. `norm` follows each convolution but the last.
    """

    def __init__(self, size: int, channels: int, width: int, norm: str = "none") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs, features = channels, width
        for _ in range(_doublings(size)):
            layers += [
                nn.Conv2d(inputs, features, 4, stride=2, padding=1, bias=norm == "none"),
                *([nn.BatchNorm2d(features)] if norm == "batch" else []),
                nn.LeakyReLU(LEAK, inplace=True),
            ]
            inputs, features = features, 2 * features
        layers.append(nn.Conv2d(inputs, 1, 4, stride=1, padding=0))
        self.layers = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Score images: `[n, channels, size, size]` -> `[n]`, higher is more real."""
        scores: Tensor = self.layers(images)
        return scores.flatten()  # (n, 1, 1, 1) -> (n,)


def build(config: TrainConfig) -> tuple[Generator, Critic]:
    """Build both networks with new weights drawn from `config.seed`, on the CPU.

    The weights do not depend on the device, and PyTorch's global random state is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return (
            Generator(config.size, config.channels, config.latent_dim, config.width),
            Critic(config.size, config.channels, config.width, config.critic_norm),
        )


def _doublings(size: int) -> int:
    """How many times 4 pixels are doubled to give `size`."""
    return size.bit_length() - 3


def _initialise(network: nn.Module) -> None:
    """DCGAN's weights where batch norm takes out the scale; He's where nothing does.

    Without a norm, DCGAN's 0.02 would shrink the signal about threefold in each layer of a narrow
    critic. The WGAN-GP paper's code uses He's there too.
    """
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if has_norm:
                nn.init.normal_(module.weight, 0.0, INIT_STD)
            else:
                nn.init.kaiming_normal_(module.weight, LEAK)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
