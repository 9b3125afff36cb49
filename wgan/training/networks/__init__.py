"""Generators and critics, and the registry that builds them from a run's settings.

The loop trains any pair of modules: a generator maps latents `[n, latent_dim]`, or a user's own
`[n, latent_dim, 1, 1]`, to images `[n, channels, height, width]` in [-1, 1], a critic maps images
to scores `[n]`. In a conditional run both take labels, int64 `[n]`, as their second argument
(`conditioning.py`).
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from wgan.errors import UsageError
from wgan.training.config import TrainConfig
from wgan.training.networks.dcgan import DCGANCritic, DCGANGenerator
from wgan.training.networks.latent_maps import with_flat_latents
from wgan.training.networks.norms import apply_spectral_norm
from wgan.training.networks.resize_conv import ResizeConvGenerator, folded
from wgan.training.networks.resnet import ResNetCritic, ResNetGenerator
from wgan.user_code import call, is_dotted, user_code

__all__ = [
    "Architecture",
    "DCGANCritic",
    "DCGANGenerator",
    "ResNetCritic",
    "ResNetGenerator",
    "ResizeConvGenerator",
    "build",
    "folded",
    "load_architecture",
]

Networks = tuple[nn.Module, nn.Module]
"""A generator and a critic."""

Architecture = Callable[[TrainConfig], Networks]
"""Builds both from a run's settings, with weights from PyTorch's global random generator."""


def _architecture(
    generator: Callable[..., nn.Module], critic: Callable[..., nn.Module]
) -> Architecture:
    return lambda config: (
        generator(
            config.size, config.channels, config.latent_dim, config.width, len(config.classes)
        ),
        critic(config.size, config.channels, config.width, config.critic_norm, len(config.classes)),
    )


BUILT_IN = {
    "resize-conv": _architecture(ResizeConvGenerator, DCGANCritic),
    "dcgan": _architecture(DCGANGenerator, DCGANCritic),
    "resnet": _architecture(ResNetGenerator, ResNetCritic),  # those of the WGAN-GP paper
}


def build(config: TrainConfig, architecture: Architecture | None = None) -> Networks:
    """Build both networks on the CPU, with weights from `config.seed`.

    The weights do not depend on the device, and PyTorch's global random state does not change.

    Args:
        config: the run's settings; `config.arch` names the architecture.
        architecture: the output of `load_architecture` for one that is not built in. It is an
            argument because a run folder from elsewhere must not choose the code that runs.

    Raises:
        UsageError: `config.arch` is not built in and `architecture` is missing, it does not return
            networks, or `config` is conditional and names no classes.
    """
    if config.conditional and not config.classes:
        raise UsageError("a conditional run needs the names of its classes: TrainConfig(classes=)")
    chosen = architecture or BUILT_IN.get(config.arch)
    if chosen is None:
        raise UsageError(
            f"the networks come from {config.arch}, which is not built in: give"
            f" --arch {config.arch} to allow that code to run"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)  # only the CPU's generator
        generator, critic = chosen(config) if architecture is None else _call(chosen, config)
        if architecture is not None:
            generator = with_flat_latents(generator, config.latent_dim, len(config.classes))
        if config.constraint == "spectral":
            apply_spectral_norm(critic)
    return generator, critic


def _call(chosen: Architecture, config: TrainConfig) -> Networks:
    """Call the user's architecture; most errors from inside it keep their traceback."""
    option, code = f"--arch {config.arch}", config.arch.partition(":")[0]
    expected = "a function of one argument, the TrainConfig"
    networks = call(option, code, chosen, config, expected=expected)
    pair = isinstance(networks, tuple | list) and len(networks) == 2
    if not pair or not all(isinstance(network, nn.Module) for network in networks):
        raise UsageError(
            f"--arch {config.arch} returned {type(networks).__name__}: it must return a generator"
            " and a critic, two torch.nn.Module"
        )
    generator, critic = networks
    return generator, critic


def load_architecture(name: str) -> Architecture | None:
    """Import the function `"package.module:function"`; None for a built-in name.

    The current folder is searched too.

    Raises:
        UsageError: there is no such module or function, or it ends the program.
    """
    if name in BUILT_IN:
        return None
    module_name, _, function = name.partition(":")
    if not is_dotted(module_name):
        raise UsageError(f"--arch {name}: write package.module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with user_code(f"--arch {name}", module_name, "imported"):
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"--arch {name}: there is no module {exc.name}, here or installed"
        ) from exc
    architecture = getattr(module, function, None)
    if not callable(architecture):
        raise UsageError(f"--arch {name}: {module_name} has no function {function!r}")
    chosen: Architecture = architecture
    return chosen
