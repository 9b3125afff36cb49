"""One pass through a user's own networks before step 1: each mistake becomes one sentence."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from wgan.errors import UsageError, translated_errors
from wgan.text import first_line, shorten
from wgan.training.config import TrainConfig
from wgan.training.memory_layout import run_in_either_layout
from wgan.training.networks import Architecture, build

IMAGES = 8
"""Images of the pass: enough to see whether any value lies below 0."""

RANGE_MARGIN = 0.01
"""How far beyond [-1, 1] images may lie without a warning."""

logger = logging.getLogger("wgan")


def check_networks(
    config: TrainConfig, architecture: Architecture, shape: tuple[int, int, int]
) -> None:
    """Build the networks of `architecture` and take the losses of one step, on the CPU.

    The images are random ones. Gradients must arrive at both networks, and from the critic's scores
    at its images. Neither the run's networks nor its random state change. Images outside [-1, 1],
    or without any value below 0, are a warning.

    Args:
        config: the run's settings.
        architecture: the user's function.
        shape: channels, height and width of the data.

    Raises:
        UsageError: the networks cannot be run, or return something else than images and scores.
    """
    generator, critic = build(config, architecture)
    _check_parameters(generator, critic, config)
    with torch.random.fork_rng(devices=[]):  # the run's own random state stays
        _check(generator, critic, config, shape)
        _check_gradients(*build(config, architecture), config)
        # Built again: networks with the older spectral norm cannot be copied once they have run.
        _check_backward(*build(config, architecture), config)


def _check_parameters(generator: nn.Module, critic: nn.Module, config: TrainConfig) -> None:
    """Check that both networks have something to train, each its own. Raises UsageError."""
    for name, network in (("generator", generator), ("critic", critic)):
        parameters = list(network.parameters())
        if not parameters:
            raise UsageError(
                f"the {name} of --arch {config.arch} has no parameters, so that it cannot be"
                " trained: its layers must be attributes of the module, or in an nn.ModuleList"
            )
        if not any(parameter.requires_grad for parameter in parameters):
            raise UsageError(
                f"all parameters of the {name} of --arch {config.arch} are frozen, so that it"
                f" cannot be trained: leave out  {name}.requires_grad_(False)"
            )
    scored = {id(parameter) for parameter in critic.parameters() if parameter.requires_grad}
    shared = [name for name, each in generator.named_parameters() if id(each) in scored]
    if shared:
        raise UsageError(
            f"the critic of --arch {config.arch} has parameters of the generator"
            f" ({shorten(shared[0])}): each network trains its own, so give the critic a copy"
            " (copy.deepcopy) or a layer of its own"
        )


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
    _check_finite("generator", "draws values", images, config)
    _check_range(images.detach(), config)
    scores = _call("critic", critic, images, config)
    if list(scores.shape) not in ([IMAGES], [IMAGES, 1]):
        raise UsageError(
            f"the critic of --arch {config.arch} returns {list(scores.shape)} for {IMAGES} images:"
            f" it must return one score for each, [{IMAGES}] (a map of scores:  .mean((1, 2, 3)))"
        )
    _check_finite("critic", "returns scores", scores, config)


def _check_finite(name: str, action: str, values: Tensor, config: TrainConfig) -> None:
    if not torch.isfinite(values).all():
        raise UsageError(
            f"the {name} of --arch {config.arch} {action} that are not finite (NaN or infinite),"
            " before any training: look for a division, a log or a root in it, and at its first"
            " weights"
        )


def _check_gradients(generator: nn.Module, critic: nn.Module, config: TrainConfig) -> None:
    """Check that gradients arrive at the parameters, and at the critic's images."""
    images = _call("generator", generator, torch.randn(2, config.latent_dim), config)
    _backward(images, config)
    _check_arrival("generator's images", "its parameters", generator.parameters(), config)
    given = images.detach().requires_grad_()
    # The penalty's images are a leaf, which PyTorch lets no network change in place.
    scores = _call("critic", critic, given if config.has_penalty else given.clone(), config)
    _backward(scores, config)
    _check_arrival("critic's scores", "its images", [given], config)
    _check_arrival("critic's scores", "its parameters", critic.parameters(), config)


def _backward(values: Tensor, config: TrainConfig) -> None:
    if values.requires_grad:
        with _training_errors(config):
            values.sum().backward()


def _check_arrival(start: str, end: str, leaves: Iterable[Tensor], config: TrainConfig) -> None:
    """Raise UsageError if no gradient arrived at any of `leaves`."""
    if all(leaf.grad is None for leaf in leaves):
        raise UsageError(
            f"no gradient of the {start} arrives at {end}, so that the networks of --arch"
            f" {config.arch} cannot be trained: leave out what cuts it off, such as .detach(),"
            " .data, torch.no_grad(), NumPy, or a comparison as in (x > 0).float()"
        )


def _call(name: str, network: nn.Module, given: Tensor, config: TrainConfig) -> Tensor:
    labels = (torch.zeros(len(given), dtype=torch.int64),) if config.classes else ()
    with translated_errors(lambda exc: _run_error(name, given, exc)):
        result = network(given, *labels)
    if not isinstance(result, Tensor):
        raise UsageError(
            f"the {name} returns a {type(result).__name__}: it must return one tensor, so return"
            f" only {'the images' if name == 'generator' else 'the scores'}"
        )
    return result


def _run_error(name: str, given: Tensor, exc: Exception) -> UsageError:
    what, hint = "images", ""
    if name == "generator":
        what = "latents"
        hint = "; latents are [n, latent_dim], or [n, latent_dim, 1, 1] if it takes these"
    reason = _reason(exc, hint)
    return UsageError(f"the {name} cannot be run on {what} {list(given.shape)}: {reason}")


def _check_range(images: Tensor, config: TrainConfig) -> None:
    low, high = float(images.min()), float(images.max())
    if low < -1 - RANGE_MARGIN or high > 1 + RANGE_MARGIN:
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
    with _training_errors(config):
        pair, _ = run_in_either_layout(generator, critic, config)
    for name, network in zip(("generator", "critic"), pair, strict=True):
        for parameter, value in network.named_parameters():
            if value.grad is not None and value.grad.is_sparse:
                raise UsageError(
                    f"the gradient of {shorten(parameter)} in the {name} of --arch {config.arch} is"
                    " sparse, which the optimiser does not take: leave out  sparse=True"
                )


@contextmanager
def _training_errors(config: TrainConfig) -> Iterator[None]:
    """Turn an error of a backward pass into a sentence. Raises UsageError."""

    def explained(exc: Exception) -> UsageError:
        return UsageError(f"the networks of --arch {config.arch} cannot be trained: {_reason(exc)}")

    with translated_errors(explained), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the error, or the training, says the same
        yield


def _reason(exc: Exception, hint: str = "") -> str:
    """The error, and what to change if PyTorch's text does not say it, or else `hint`."""
    text = str(exc)
    if "use_reentrant" in text:
        return "the gradient penalty needs  checkpoint(..., use_reentrant=False)"
    if "in-place" in text or "inplace" in text:
        hint = "; write operations in place, as  x.mul_(2),  in the other form,  x = x * 2"
    return first_line(exc, 200).rstrip(".") + hint
