"""Norms of the critic's layers, and weight initialisation."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

LEAK = 0.2
"""Slope of the critic's LeakyReLU for negative inputs (DCGAN, section 4)."""

DCGAN_STD = 0.02
"""Standard deviation of initial weights next to batch norm (DCGAN, section 4)."""


def norm_layers(name: str, features: int) -> list[nn.Module]:
    """Return the norm called `name` for maps `[n, features, h, w]`; an empty list for none.

    Batch norm makes an image's score depend on the rest of the batch, while the gradient penalty
    is per image: the WGAN-GP paper (section 4) recommends layer norm instead.
    """
    if name == "layer":  # one group: over all maps and pixels of an image, as in the paper's code
        return [nn.GroupNorm(1, features)]
    if name == "instance":
        return [nn.InstanceNorm2d(features, affine=True)]
    if name == "batch":
        return [nn.BatchNorm2d(features)]
    assert name == "none"
    return []


def apply_spectral_norm(critic: nn.Module) -> None:
    """Normalise each layer's largest singular value to 1 (Miyato et al. 2018, arXiv:1802.05957)."""
    for layer in list(_weighted_layers(critic)):
        spectral_norm(layer)


def initialise_dcgan(network: nn.Module) -> None:
    """Initialise weights as DCGAN does, for layers that a norm rescales."""
    for layer in _weighted_layers(network):
        nn.init.normal_(layer.weight, 0.0, DCGAN_STD)
        _zero_bias(layer)


def initialise_he(network: nn.Module, leak: float = 0.0) -> None:
    """Initialise weights to keep the signal's scale through ReLUs (He et al. 2015).

    As in the WGAN-GP paper's code. DCGAN's 0.02 would shrink the signal about threefold in each
    layer of a narrow critic without a norm.
    """
    for layer in _weighted_layers(network):
        nn.init.kaiming_normal_(layer.weight, leak)
        _zero_bias(layer)


def _weighted_layers(network: nn.Module) -> Iterator[Any]:
    """Yield the convolutions and linear layers; the weight of a norm has one dimension."""
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter) and weight.ndim > 1:
            yield module


def _zero_bias(layer: Any) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
