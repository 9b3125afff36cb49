"""BigGAN: conditional batch norm, a shared class embedding, latents in every block."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo_networks.convolutional import SelfAttention

CLASSES, EMBEDDING, CHUNK = 10, 64, 20


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are linear in a condition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = (
            nn.Linear(EMBEDDING + CHUNK, channels, bias=False) for _ in range(2)
        )

    def forward(self, x: Tensor, condition: Tensor) -> Any:
        """`[n, c, h, w]` and `[n, EMBEDDING + CHUNK]` -> `[n, c, h, w]`."""
        gain = 1 + 0.1 * self.gain(condition)
        return self.norm(x) * gain[:, :, None, None] + 0.1 * self.bias(condition)[:, :, None, None]


class Block(nn.Module):
    """A residual block that doubles the size."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ConditionalBatchNorm(inputs), ConditionalBatchNorm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.upsample = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor, condition: Tensor) -> Any:
        """`[n, inputs, h, w]` -> `[n, outputs, 2h, 2w]`."""
        made = self.conv1(self.upsample(torch.relu(self.norm1(x, condition))))
        made = self.conv2(torch.relu(self.norm2(made, condition)))
        return made + self.shortcut(self.upsample(x))


class BigGan(nn.Module):
    """Three blocks, attention at 16x16; images 32x32 of latents `[n, 80]` and a class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, EMBEDDING)
        self.first = nn.Linear(CHUNK, 256 * 16)
        self.blocks = nn.ModuleList([Block(256, 128), Block(128, 128), Block(128, 64)])
        self.attention = SelfAttention(128, pooled=True)
        self.last = nn.Sequential(
            nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 3, 3, padding=1), nn.Tanh()
        )

    def forward(self, z: Tensor, y: Tensor) -> Any:
        """`[n, 80]` and classes `[n]` -> `[n, 3, 32, 32]`."""
        first, *chunks = z.split(CHUNK, dim=1)
        x = self.first(first).reshape(-1, 256, 4, 4)
        embedded = self.embedding(y)
        for number, (block, chunk) in enumerate(zip(self.blocks, chunks, strict=True)):
            x = block(x, torch.cat([chunk, embedded], dim=1))
            if number == 1:
                x = self.attention(x)
        return self.last(x)
