"""Small generators of the public families, written from their papers, with random weights.

`NETWORKS` has them all. Each draws images in [-1, 1] from latents `[n, *latent_shape]`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.zoo_networks.conditional import BigGan
from benchmarks.zoo_networks.convolutional import dcgan, mlp, progressive, resnet, sagan, upsampling
from benchmarks.zoo_networks.efficient import FastGan, LightweightGan, R3Gan
from benchmarks.zoo_networks.style import StyleGan1, StyleGan2


@dataclass(frozen=True)
class Network:
    """A family of generators."""

    paper: str
    make: Callable[[], nn.Module]
    latent_shape: tuple[int, ...]
    label: int | None = None  # of all images, for a generator with classes
    value_range: tuple[float, float] | None = None  # None where the last operator tells it


LAYERS = nn.Conv2d | nn.ConvTranspose2d | nn.Linear

LINEAR = (-1.0, 1.0)
"""The range of images that no last operator limits."""

NETWORKS: Mapping[str, Network] = {
    "MLP": Network("Arjovsky et al. 2017, section 4", mlp, (100,)),
    "DCGAN": Network("Radford et al. 2015", dcgan, (100, 1, 1)),
    "upsampling": Network("Odena et al. 2016", upsampling, (100,)),
    "ResNet": Network("Gulrajani et al. 2017, Miyato et al. 2018", resnet, (128,)),
    "SAGAN": Network("Zhang et al. 2018", sagan, (128,)),
    "PGAN": Network("Karras et al. 2017", progressive, (128,)),
    "BigGAN": Network("Brock et al. 2018", BigGan, (80,), label=3),
    "StyleGAN": Network("Karras et al. 2018", StyleGan1, (128,), value_range=LINEAR),
    "StyleGAN2": Network("Karras et al. 2019", StyleGan2, (128,), value_range=LINEAR),
    "FastGAN": Network("Liu et al. 2021", FastGan, (128,)),
    "lightweight GAN": Network("Liu et al. 2021, Shen et al. 2018", LightweightGan, (128,)),
    "R3GAN": Network("Huang et al. 2024", R3Gan, (64,), value_range=LINEAR),
}
"""Name -> network, from the plainest to the newest."""


def make_network(name: str) -> nn.Module:
    """Make a network in eval mode, with the same weights each time.

    Weights have the size that keeps variances. The statistics of batch norm are those of its own
    activations, as after a training.
    """
    torch.manual_seed(0)
    network = NETWORKS[name]
    generator = network.make()
    labels = () if network.label is None else (torch.arange(64) % 10,)
    for layer in generator.modules():
        if isinstance(layer, LAYERS):
            nn.init.normal_(layer.weight, std=(2 / _fan_in(layer)) ** 0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.momentum = None  # the mean of what is seen
            if layer.affine:
                nn.init.normal_(layer.weight, 1, 0.1)
                nn.init.normal_(layer.bias, 0, 0.1)
    generator.train()
    with torch.no_grad():
        generator(torch.randn(64, *network.latent_shape), *labels)
    generator.eval().requires_grad_(False)
    if network.value_range is None:
        _set_contrast(generator, (torch.randn(64, *network.latent_shape), *labels))
    return generator


def _fan_in(layer: Any) -> float:
    """Products that are added up for a value of the output."""
    if isinstance(layer, nn.ConvTranspose2d):  # each pixel of the output sees a share of the kernel
        return layer.weight[:, 0].numel() / (layer.stride[0] * layer.stride[1])
    return float(layer.weight[0].numel())


def _set_contrast(generator: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Scale the last layer so that images have about the contrast of photographs."""
    spreads: list[tuple[Any, float]] = []
    hooks = [
        layer.register_forward_hook(lambda m, _, y: spreads.append((m, float(y.std()))))
        for layer in generator.modules()
        if isinstance(layer, LAYERS)
    ]
    with torch.no_grad():
        generator(*inputs)
        last, spread = spreads[-1]
        for parameter in last.parameters():
            parameter *= 0.5 / spread
    for hook in hooks:
        hook.remove()
