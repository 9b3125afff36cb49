"""Plain and residual convolutional generators: MLP, DCGAN, upsampling, ResNet, SAGAN, PGAN."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Unflatten(nn.Module):
    """`[n, c * size * size]` or `[n, c]` -> `[n, c, size, size]`."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Reshape."""
        return x.reshape(x.shape[0], *self.shape)


def mlp() -> nn.Module:
    """Five linear layers with batch norm; images 28x28."""
    layers: list[nn.Module] = [nn.Linear(100, 128), nn.LeakyReLU(0.2)]
    for inputs, outputs in pairwise((128, 256, 512, 1024)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, 0.8), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(1024, 28 * 28), nn.Tanh(), Unflatten(1, 28))


def dcgan() -> nn.Module:
    """Transposed convolutions of kernel 4 and stride 2; images 64x64."""
    channels = (512, 256, 128, 64)
    layers: list[nn.Module] = [nn.ConvTranspose2d(100, channels[0], 4, bias=False)]
    for inputs, outputs in pairwise((*channels, 3)):
        layers += [nn.BatchNorm2d(inputs), nn.ReLU()]
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    return nn.Sequential(*layers, nn.Tanh())


def upsampling() -> nn.Module:
    """Nearest upsampling and 3x3 convolutions; images 64x64."""
    return nn.Sequential(
        nn.Linear(100, 128 * 16 * 16), Unflatten(128, 16), nn.BatchNorm2d(128),
        nn.Upsample(scale_factor=2), nn.Conv2d(128, 128, 3, padding=1),
        nn.BatchNorm2d(128, 0.8), nn.LeakyReLU(0.2),
        nn.Upsample(scale_factor=2), nn.Conv2d(128, 64, 3, padding=1),
        nn.BatchNorm2d(64, 0.8), nn.LeakyReLU(0.2),
        nn.Conv2d(64, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


class ResidualBlock(nn.Module):
    """Batch norm, ReLU, upsampling, convolution, twice; a 1x1 convolution beside them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.ReLU(), nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 1))

    def forward(self, x: Tensor) -> Any:
        """`[n, c, h, w]` -> `[n, outputs, 2h, 2w]`."""
        return self.residual(x) + self.shortcut(x)


def resnet() -> nn.Module:
    """Three residual blocks; images 32x32."""
    return nn.Sequential(
        nn.Linear(128, 128 * 4 * 4), Unflatten(128, 4),
        ResidualBlock(128, 128), ResidualBlock(128, 128), ResidualBlock(128, 128),
        nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


class SelfAttention(nn.Module):
    """Attention over all pixels of a map; if pooled, keys and values are those of 2x2 windows."""

    def __init__(self, channels: int, *, pooled: bool = False) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(channels, channels // 8, 1, bias=False) for _ in "qk")
        self.value = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.out = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Any:
        """`[n, c, h, w]` -> the same."""
        query = self.query(x).flatten(2)  # (n, c / 8, pixels)
        key, value = self.pool(self.key(x)).flatten(2), self.pool(self.value(x)).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (n, pixels, keys)
        seen = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gain * self.out(seen)


def sagan() -> nn.Module:
    """Transposed convolutions with spectral norm, and self attention at 16x16; images 64x64."""

    def layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride, stride // 2)
        return [spectral_norm(convolution), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        Unflatten(128, 1), *layer(128, 512, 1), *layer(512, 256, 2), *layer(256, 128, 2),
        SelfAttention(128), *layer(128, 64, 2), nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


class PixelNorm(nn.Module):
    """Each pixel's vector has the length 1 for each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, ...]` -> the same."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


def progressive() -> nn.Module:
    """Pairs of 3x3 convolutions with leaky ReLU and pixel norm; images 64x64, linear at the end."""

    def layer(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        return [convolution, nn.LeakyReLU(0.2), PixelNorm()]

    layers = [PixelNorm(), nn.Linear(128, 128 * 16), Unflatten(128, 4), nn.LeakyReLU(0.2)]
    layers += [PixelNorm(), *layer(128, 128)]
    for inputs, outputs in pairwise((128, 128, 128, 64, 32)):
        layers += [nn.Upsample(scale_factor=2), *layer(inputs, outputs), *layer(outputs, outputs)]
    return nn.Sequential(*layers, nn.Conv2d(32, 3, 1), nn.Hardtanh())
