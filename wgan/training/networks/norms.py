"""Norms of the critic's layers, and weight initialisation."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

LEAK = 0.2
"""Slope of the critic's LeakyReLU for negative inputs (DCGAN, section 4)."""

DCGAN_STD = 0.02
"""Standard deviation of initial weights next to batch norm (DCGAN, section 4)."""

Convolution = nn.Conv2d | nn.ConvTranspose2d


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
    for module in list(critic.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            spectral_norm(module)


def initialise_dcgan(network: nn.Module) -> None:
    """Initialise weights as DCGAN does, for layers that a norm rescales."""
    for module in network.modules():
        if isinstance(module, Convolution):
            nn.init.normal_(module.weight, 0.0, DCGAN_STD)
            _zero_bias(module)


def initialise_he(network: nn.Module, leak: float = 0.0) -> None:
    """Initialise weights to keep the signal's scale through ReLUs (He et al. 2015).

    As in the WGAN-GP paper's code. DCGAN's 0.02 would shrink the signal about threefold in each
    layer of a narrow critic without a norm.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, leak)
            _zero_bias(module)


def _zero_bias(layer: Convolution | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
