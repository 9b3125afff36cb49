"""Resizing convolutions: what they equal, what they cannot draw, and how they fold."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wgan.training.config import TrainConfig
from wgan.training.networks import build, folded
from wgan.training.networks.resize_conv import UpsampleConv2d

Layer = TypeVar("Layer", bound=nn.Module)


def random_layer(layer: Layer) -> Layer:
    torch.manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


def checkerboard(images: Tensor) -> float:
    """Root mean square of images `[n, c, h, w]` at the highest frequency of both axes."""
    kernel = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / 4
    maps = images.flatten(0, 1)[:, None]
    return float(functional.conv2d(maps, kernel[None, None]).square().mean().sqrt())


@pytest.mark.parametrize("bias", [True, False])
def test_the_upsampling_layer_is_nearest_upsampling_and_a_convolution(bias: bool) -> None:
    layer = random_layer(UpsampleConv2d(3, 5, bias))
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    larger = functional.interpolate(x, scale_factor=2, mode="nearest")
    expected = functional.conv2d(larger, layer.weight, layer.bias, padding=1)
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_a_constant_input_gives_a_constant_output_inside_the_border() -> None:
    # A transposed convolution with a kernel of its own for each pixel of a 2x2 block does not.
    inside = random_layer(UpsampleConv2d(2, 2))(torch.ones(1, 2, 6, 6).double())[..., 2:-2, 2:-2]
    assert torch.allclose(inside, inside[..., :1, :1].expand_as(inside))
    transposed = random_layer(nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1))
    inside = transposed(torch.ones(1, 2, 6, 6).double())[..., 2:-2, 2:-2]
    assert not torch.allclose(inside, inside[..., :1, :1].expand_as(inside))


def test_an_untrained_generator_has_less_of_a_checkerboard_than_dcgans() -> None:
    latents = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
    shares = []
    for arch in ("resize-conv", "dcgan"):
        generator, _ = build(TrainConfig(arch=arch, width=8))
        with torch.no_grad():
            images = generator(latents)
        shares.append(checkerboard(images) / float(images.std()))
    assert shares[0] < 0.5 * shares[1]


@pytest.mark.parametrize("size", [32, 64])
def test_a_folded_generator_draws_the_same_with_plain_layers(size: int) -> None:
    generator, _ = build(TrainConfig(size=size, width=4, arch="resize-conv"))
    generator.eval()
    plain = folded(generator)
    assert not any(isinstance(layer, UpsampleConv2d) for layer in plain.modules())
    assert any(isinstance(layer, UpsampleConv2d) for layer in generator.modules()), "not a copy"
    latents = torch.randn(3, 128)
    with torch.no_grad():
        difference = (plain(latents) - generator(latents)).abs().max()
    assert float(difference) < 1e-5
