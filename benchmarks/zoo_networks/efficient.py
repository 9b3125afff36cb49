"""FastGAN, lightweight GAN and R3GAN."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def glu_layer(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution, batch norm and a gated linear unit, which halves the channels."""
    convolution = nn.Conv2d(inputs, 2 * outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(2 * outputs), nn.GLU(dim=1)]


class SkipExcitation(nn.Module):
    """Channels of a large map, weighted by a small map."""

    def __init__(self, small: int, large: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Conv2d(small, large, 4, bias=False), nn.SiLU(),
            nn.Conv2d(large, large, 1, bias=False), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, small: Tensor, large: Tensor) -> Any:
        """Weigh the channels of `large`."""
        return large * self.weigh(small)


class FastGan(nn.Module):
    """Upsampling, GLU and skip-layer excitation; images 128x128."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.ConvTranspose2d(128, 512, 4, bias=False), nn.BatchNorm2d(512), nn.GLU(dim=1)
        )
        channels = (256, 128, 128, 64, 32, 16)
        self.blocks = nn.ModuleList()
        for number, (inputs, outputs) in enumerate(pairwise(channels)):
            layers = [nn.Upsample(scale_factor=2), *glu_layer(inputs, outputs)]
            if number % 2 == 0:
                layers += glu_layer(outputs, outputs)
            self.blocks.append(nn.Sequential(*layers))
        self.skips = nn.ModuleList([SkipExcitation(256, 32), SkipExcitation(128, 16)])
        self.last = nn.Sequential(nn.Conv2d(16, 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor) -> Any:
        """`[n, 128]` -> `[n, 3, 128, 128]`."""
        maps = [self.first(z[:, :, None, None])]
        for number, block in enumerate(self.blocks):
            x = block(maps[-1])
            if number >= 3:  # 64x64 sees 4x4, and 128x128 sees 8x8
                x = self.skips[number - 3](maps[number - 3], x)
            maps.append(x)
        return self.last(maps[-1])


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the pixels: softmax of queries and keys apart."""

    def __init__(self, channels: int, heads: int = 4, width: int = 16) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.out = nn.Conv2d(heads * width, channels, 1)

    def forward(self, x: Tensor) -> Any:
        """`[n, c, h, w]` -> the same."""
        parts = self.inputs(x).flatten(2).chunk(3, dim=1)  # (n, heads * width, pixels)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in parts)
        context = torch.softmax(key, dim=-1) @ value.transpose(2, 3)  # (n, heads, width, width)
        seen = context.transpose(2, 3) @ torch.softmax(query, dim=2)
        return x + self.out(functional.gelu(seen.flatten(1, 2).unflatten(2, x.shape[2:])))


class Blur(nn.Module):
    """The binomial filter 1 2 1 of each channel, edges repeated by reflection."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (line[:, None] * line)[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` -> the same."""
        n, c, h, w = x.shape
        padded = functional.pad(x.reshape(n * c, 1, h, w), (1, 1, 1, 1), mode="reflect")
        return functional.conv2d(padded, self.kernel).reshape(n, c, h, w)


class LightweightGan(nn.Module):
    """Pixel shuffles, blur, GLU, linear attention and skip excitation; images 64x64."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.ConvTranspose2d(128, 512, 4), nn.BatchNorm2d(512), nn.GLU(dim=1)
        )
        self.blocks, self.attention = nn.ModuleList(), LinearAttention(128)
        for inputs, outputs in pairwise((256, 128, 128, 64, 32)):
            shuffle = [nn.Conv2d(inputs, 4 * inputs, 1), nn.SiLU(), nn.PixelShuffle(2), Blur()]
            self.blocks.append(nn.Sequential(*shuffle, *glu_layer(inputs, outputs)))
        self.skip = SkipExcitation(256, 32)
        self.last = nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Any:
        """`[n, 128]` -> `[n, 3, 64, 64]`; black and white are -1 and 1."""
        small = x = functional.normalize(self.first(z[:, :, None, None]), dim=1) * 16
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 1:
                x = self.attention(x)
        return self.last(self.skip(small, x)).clamp(-1, 1)


class InvertedBottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions without norm, added to their input."""

    def __init__(self, channels: int, width: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False), nn.LeakyReLU(0.2),
            nn.Conv2d(width, width, 3, padding=1, groups=groups, bias=False), nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 1, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Any:
        """`[n, c, h, w]` -> the same."""
        return x + 0.2 * self.layers(x)


class InterpolatedUpsampling(nn.Module):
    """A 1x1 convolution if the channels change, zeros between pixels, and the filter 1 3 3 1."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("kernel", (line[:, None] * line)[None, None])
        self.change = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` -> `[n, outputs, 2h, 2w]`."""
        x = self.change(x)
        n, c, h, w = x.shape
        apart = functional.pad(x.reshape(n, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1))
        wide = functional.pad(apart.reshape(n, c, 2 * h, 2 * w), (2, 1, 2, 1))
        return functional.conv2d(wide, self.kernel.expand(c, 1, 4, 4), groups=c)


class R3Gan(nn.Module):
    """Residual blocks of grouped convolutions without norm; images 64x64."""

    def __init__(self) -> None:
        super().__init__()
        channels = (256, 256, 128, 128, 64)
        self.basis = nn.Parameter(torch.randn(channels[0], 4, 4))
        self.first = nn.Linear(64, channels[0], bias=False)
        layers: list[nn.Module] = [InvertedBottleneck(256, 512, 16) for _ in range(2)]
        for inputs, outputs in pairwise(channels):
            width = 2 * outputs
            layers.append(InterpolatedUpsampling(inputs, outputs))
            layers += [InvertedBottleneck(outputs, width, width // 32) for _ in range(2)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels[-1], 3, 1)

    def forward(self, z: Tensor) -> Any:
        """`[n, 64]` -> `[n, 3, 64, 64]`; black and white are -1 and 1."""
        x = self.basis * self.first(z)[:, :, None, None]
        return 0.1 * self.last(self.layers(x))
