"""One pass through a user's own networks before step 1: each mistake becomes one sentence."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan.errors import UsageError, WganError
from wgan.text import first_line
from wgan.training.config import TrainConfig
from wgan.training.memory_layout import run_once, why_not_channels_last
from wgan.training.networks import Architecture, build

IMAGES = 8
"""Images of the pass: enough to see whether any value lies below 0."""

MARGIN = 0.01
"""How far beyond [-1, 1] images may lie without a warning."""

logger = logging.getLogger("wgan")


def check_networks(
    config: TrainConfig, architecture: Architecture, shape: tuple[int, int, int]
) -> None:
    """Build the networks of `architecture` and run them once, forward and backward, on the CPU.

    Images outside [-1, 1], or without any value below 0, are a warning.

    Args:
        config: the run's settings.
        architecture: the user's function.
        shape: channels, height and width of the data.

    Raises:
        UsageError: the networks cannot be run, or return something else than images and scores.
    """
    generator, critic = build(config, architecture)
    with torch.random.fork_rng(devices=[]):  # the run's own random state stays
        _check(generator, critic, config, shape)
        # Built again: networks with the older spectral norm cannot be copied once they have run.
        _check_backward(*build(config, architecture), config)


def _check(
    generator: nn.Module, critic: nn.Module, config: TrainConfig, shape: tuple[int, int, int]
) -> None:
    images = _call("generator", generator, torch.randn(IMAGES, config.latent_dim), config)
    expected = [IMAGES, *shape]
    if list(images.shape) != expected:
        raise UsageError(
            f"the generator of --arch {config.arch} returns {list(images.shape)} for {IMAGES}"
            f" latents [{IMAGES}, {config.latent_dim}]: it must return images {expected}, as the"
            " data has them"
        )
    _check_range(images.detach(), config)
    scores = _call("critic", critic, images, config)
    if list(scores.shape) not in ([IMAGES], [IMAGES, 1]):
        raise UsageError(
            f"the critic of --arch {config.arch} returns {list(scores.shape)} for {IMAGES} images:"
            f" it must return one score for each, [{IMAGES}] (a map of scores:  .mean((1, 2, 3)))"
        )


def _labels(n: int, config: TrainConfig) -> tuple[Tensor, ...]:
    """The second argument of conditional networks."""
    return (torch.zeros(n, dtype=torch.int64),) if config.classes else ()


def _call(name: str, network: nn.Module, given: Tensor, config: TrainConfig) -> Tensor:
    result = _explained(name, given, lambda: network(given, *_labels(len(given), config)))
    if not isinstance(result, Tensor):
        raise UsageError(
            f"the {name} returns a {type(result).__name__}: it must return one tensor, so return"
            f" only {'the images' if name == 'generator' else 'the scores'}"
        )
    return result


def _explained(name: str, given: Tensor, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except (WganError, MemoryError):
        raise
    except Exception as exc:
        what = "latents" if name == "generator" else "images"
        hint = (
            "; latents are [n, latent_dim], or [n, latent_dim, 1, 1] if it takes these"
            if name == "generator"
            else ""
        )
        raise UsageError(
            f"the {name} cannot be run on {what} {list(given.shape)}: {first_line(exc, 200)}{hint}"
        ) from exc


def _check_range(images: Tensor, config: TrainConfig) -> None:
    low, high = float(images.min()), float(images.max())
    if low < -1 - MARGIN or high > 1 + MARGIN:
        logger.warning(
            "the generator of --arch %s draws values from %.3g to %.3g: images are in [-1, 1], so"
            " its last layer is usually a tanh",
            config.arch, low, high,
        )  # fmt: skip
    elif low >= 0:
        logger.warning(
            "the generator of --arch %s draws no value below 0, as after a sigmoid: images are in"
            " [-1, 1], so its last layer is usually a tanh",
            config.arch,
        )


def _check_backward(generator: nn.Module, critic: nn.Module, config: TrainConfig) -> None:
    """Check that the networks can be trained in one of the two memory layouts."""
    if why_not_channels_last(generator, critic, config):
        return  # they can in the other one
    try:
        run_once(generator, critic, config, torch.channels_last)
    except Exception as exc:
        raise UsageError(
            f"the networks of --arch {config.arch} cannot be trained: {first_line(exc, 150)}"
        ) from exc
