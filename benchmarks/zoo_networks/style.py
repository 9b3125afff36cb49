"""StyleGAN and StyleGAN2 with fixed noise and constant first map."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.zoo_networks.convolutional import PixelNorm

STYLE = 128
CHANNELS = (128, 128, 128, 64, 32)  # at 4x4, 8x8, ...
GAIN = 2**0.5
"""Of leaky ReLU, so that it keeps variances."""


def mapping() -> nn.Sequential:
    """Latents -> styles."""
    layers: list[nn.Module] = [PixelNorm()]
    for _ in range(4):
        layers += [nn.Linear(STYLE, STYLE), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


class Blur(nn.Module):
    """A separable filter of each channel, with zeros beyond the edges."""

    kernel: Tensor

    def __init__(self, line: tuple[float, ...], gain: float, pads: tuple[int, int]) -> None:
        super().__init__()
        row = torch.tensor(line) / sum(line)
        self.register_buffer("kernel", (row[:, None] * row)[None, None] * gain)
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` -> the same, as large as the pads allow."""
        n, c, h, w = x.shape
        flat = functional.pad(x.reshape(n * c, 1, h, w), (*self.pads, *self.pads))
        made = functional.conv2d(flat, self.kernel)
        return made.reshape(n, c, *made.shape[2:])


class StyledLayer(nn.Module):
    """Noise, leaky ReLU, instance norm and a style, after whatever convolution is given."""

    noise: Tensor

    def __init__(self, channels: int, size: int, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.strength = nn.Parameter(0.1 * torch.randn(1, channels, 1, 1))
        self.style = nn.Linear(STYLE, 2 * channels)

    def forward(self, x: Tensor, w: Tensor) -> Any:
        """A map and styles `[n, STYLE]` -> a map."""
        x = self.convolution(x) + self.noise * self.strength
        x = functional.instance_norm(functional.leaky_relu(x, 0.2))
        gain, bias = self.style(w)[:, :, None, None].chunk(2, dim=1)
        return x * (1 + 0.2 * gain) + 0.2 * bias


class StyleGan1(nn.Module):
    """Adaptive instance norm, nearest upsampling and blur; images 64x64."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = mapping()
        self.constant = nn.Parameter(torch.randn(1, CHANNELS[0], 4, 4))
        self.layers = nn.ModuleList()
        for number, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
            up = nn.Sequential(
                nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1),
                Blur((1, 2, 1), 1, (1, 1)),
            )  # fmt: skip
            size = 2 ** (number + 3)
            same = nn.Conv2d(outputs, outputs, 3, padding=1)
            self.layers.append(StyledLayer(outputs, size, up))
            self.layers.append(StyledLayer(outputs, size, same))
        self.last = nn.Conv2d(CHANNELS[-1], 3, 1)

    def forward(self, z: Tensor) -> Any:
        """`[n, 128]` -> `[n, 3, 64, 64]`; black and white are -1 and 1."""
        w = self.mapping(z)
        x = self.constant.expand(z.shape[0], -1, -1, -1)
        for layer in self.layers:
            x = layer(x, w)
        return 0.3 * self.last(x)


class ModulatedConv(nn.Module):
    """A convolution whose inputs are scaled by a style, with outputs of variance 1."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.scale = (inputs * kernel * kernel) ** -0.5
        self.style = nn.Linear(STYLE, inputs)
        self.up, self.demodulate = up, demodulate
        self.blur = Blur((1, 3, 3, 1), 4, (1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """A map and styles `[n, STYLE]` -> a map."""
        style, weight = 1 + 0.3 * self.style(w), self.weight * self.scale
        x = x * style[:, :, None, None]
        if self.up:
            x = self.blur(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = functional.conv2d(x, weight, padding=weight.shape[2] // 2)
        if not self.demodulate:
            return x
        # The variance of the outputs is a matrix product of squared styles and weights.
        variance = style.square() @ weight.square().sum(dim=(2, 3)).T
        return x * torch.rsqrt(variance + 1e-8)[:, :, None, None]


class ModulatedLayer(nn.Module):
    """A modulated convolution, noise, bias and leaky ReLU."""

    noise: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, up: bool = False) -> None:
        super().__init__()
        self.convolution = ModulatedConv(inputs, outputs, 3, up=up)
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.strength = nn.Parameter(torch.tensor(0.1))
        self.bias = nn.Parameter(0.1 * torch.randn(1, outputs, 1, 1))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """A map and styles `[n, STYLE]` -> a map."""
        x = self.convolution(x, w) + self.noise * self.strength + self.bias
        return functional.leaky_relu(x, 0.2) * GAIN


class StyleGan2(nn.Module):
    """Modulated convolutions, blur and a sum of images of all sizes; images 64x64."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = mapping()
        self.constant = nn.Parameter(torch.randn(1, CHANNELS[0], 4, 4))
        self.first = ModulatedLayer(CHANNELS[0], CHANNELS[0], 4)
        self.layers, self.images = nn.ModuleList(), nn.ModuleList()
        for number, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
            size = 2 ** (number + 3)
            self.layers.append(ModulatedLayer(inputs, outputs, size, up=True))
            self.layers.append(ModulatedLayer(outputs, outputs, size))
            self.images.append(ModulatedConv(outputs, 3, 1, demodulate=False))
        self.blur = Blur((1, 3, 3, 1), 4, (2, 1))

    def forward(self, z: Tensor) -> Any:
        """`[n, 128]` -> `[n, 3, 64, 64]`; black and white are -1 and 1."""
        w = self.mapping(z)
        x = self.first(self.constant.expand(z.shape[0], -1, -1, -1), w)
        image: Tensor | None = None
        for number, to_image in enumerate(self.images):
            x = self.layers[2 * number + 1](self.layers[2 * number](x, w), w)
            made = 0.3 * to_image(x, w)
            image = made if image is None else made + self._enlarged(image)
        return image

    def _enlarged(self, image: Tensor) -> Any:
        n, c, h, w = image.shape
        apart = functional.pad(image.reshape(n, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1))
        return self.blur(apart.reshape(n, c, 2 * h, 2 * w))
