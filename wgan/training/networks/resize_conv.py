"""A generator that resizes and convolves, at the cost of transposed convolutions.

A transposed convolution of kernel 4 and stride 2 treats the four pixels of a 2x2 block by four
kernels of their own, and nothing makes them agree: the images have a checkerboard (Odena et al.
2016, "Deconvolution and Checkerboard Artifacts"). Nearest-neighbour upsampling followed by a 3x3
convolution, their remedy, equals a transposed convolution whose 4x4 kernel is the 3x3 one
convolved with ones(2, 2). So the layers here keep a 3x3 weight and spread it when they run.

The critic beside it is DCGAN's. One of 3x3 convolutions and average pooling, spread likewise, has a
gradient without a checkerboard, but after the same time its generator was the worse one.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from wgan.training.networks.dcgan import DCGANGenerator

__all__ = [
    "ResizeConvGenerator",
    "UpsampleConv2d",
    "folded",
]


def spread_matrix() -> Tensor:
    """Return the matrix that convolves flat 3x3 kernels with ones(2, 2) and flips them: [9, 16]."""
    padded = functional.pad(torch.eye(9).reshape(9, 3, 3), (1, 1, 1, 1))
    rows = padded[:, 1:] + padded[:, :-1]
    return (rows[..., 1:] + rows[..., :-1]).flip(-2, -1).flatten(1)


class UpsampleConv2d(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution with padding 1, in one operation.

    `[n, in_channels, h, w]` -> `[n, out_channels, 2h, 2w]`.
    """

    spread_matrix: Tensor

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.register_buffer("spread_matrix", spread_matrix(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute it as one transposed convolution."""
        return functional.conv_transpose2d(x, self.kernel(), self.bias, stride=2, padding=1)

    def kernel(self) -> Tensor:
        """The transposed convolution's weight, `[in_channels, out_channels, 4, 4]`."""
        # A transposed convolution flips its kernel, and has its channels the other way round. A
        # matrix product is faster on a CPU than padding and adding slices, in backward above all.
        # Under autocast it is in bf16, as the convolution is.
        spread: Tensor = (self.weight.flatten(2) @ self.spread_matrix).unflatten(2, (4, 4))
        return spread.transpose(0, 1)


def folded(network: nn.Module) -> nn.Module:
    """Copy a network, with each `UpsampleConv2d` as the `nn.ConvTranspose2d` that it equals."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, UpsampleConv2d):
                setattr(parent, name, _conv_transpose(layer))
    return network


@torch.no_grad()
def _conv_transpose(layer: UpsampleConv2d) -> nn.ConvTranspose2d:
    kernel = layer.kernel()
    inputs, outputs = kernel.shape[:2]
    same = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=layer.bias is not None)
    same.to(kernel)
    same.weight.copy_(kernel)
    if same.bias is not None and layer.bias is not None:
        same.bias.copy_(layer.bias)
    return same.train(layer.training)


class ResizeConvGenerator(DCGANGenerator):
    """DCGAN's generator with `UpsampleConv2d` in the place of its transposed convolutions."""

    def upsampling(self, inputs: int, outputs: int, bias: bool) -> nn.Module:
        """Make a layer that doubles the size: `[n, inputs, h, w]` -> `[n, outputs, 2h, 2w]`."""
        return UpsampleConv2d(inputs, outputs, bias)
