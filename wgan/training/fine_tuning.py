"""Fine-tuning: a new run that starts from the trained weights of another (`wgan train --from`)."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from wgan.errors import UsageError
from wgan.text import plural
from wgan.training.checkpoint import Checkpoint, StateDict
from wgan.training.state import TrainState

logger = logging.getLogger(__name__)

NETWORK_FIELDS = ("arch", "size", "width", "latent_dim", "critic_norm")
"""Settings that a new run takes from the trained one unless they are given."""


def network_settings(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Settings that the new networks must share for the weights to fit."""
    return {name: getattr(checkpoint.config, name) for name in NETWORK_FIELDS}


def initialise(state: TrainState, checkpoint: Checkpoint) -> None:
    """Copy the weights of the checkpoint into new networks; the optimisers start afresh.

    What has another shape, such as layers for other classes or channels, keeps its random start
    and is named in the log.

    Raises:
        UsageError: no weight of a network fits.
    """
    networks = {
        "generator": (state.generator, checkpoint.generator),
        "critic": (state.critic, checkpoint.critic),
        "EMA": (state.generator_ema, checkpoint.average),
    }
    for name, (network, weights) in networks.items():
        _copy_fitting(network, weights, name)


@torch.no_grad()
def _copy_fitting(network: nn.Module, weights: StateDict, name: str) -> None:
    own = network.state_dict()
    fitting = {
        key for key, value in own.items() if getattr(weights.get(key), "shape", None) == value.shape
    }
    trainable = {key for key, _ in network.named_parameters()}
    if not fitting & trainable:
        raise UsageError(
            f"--from: no weight of the {name} fits, so nothing would be taken over: give the"
            " --arch, --width and --size of the run that was trained"
        )
    for key in fitting:
        own[key].copy_(weights[key])
    unfit = [key for key in own if key not in fitting]
    if unfit:
        shown = ", ".join(
            f"{key} {list(own[key].shape)}, which {_trained_shape(weights, key)}"
            for key in unfit[:4]
        )
        more = f" and {len(unfit) - 4} more" if len(unfit) > 4 else ""
        logger.warning(
            f"--from: of the {name}'s {plural(len(own), 'tensor')}, {len(unfit)} do not fit and"
            f" start at random: {shown}{more}"
        )


def _trained_shape(weights: StateDict, key: str) -> str:
    shape = getattr(weights.get(key), "shape", None)
    return "the checkpoint lacks" if shape is None else f"is {list(shape)} in the checkpoint"
