"""A generator in PyTorch itself, to compare an export's speed with."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from wgan.errors import UsageError
from wgan.export.formats.torchscript import freeze, load_torchscript, to_torchscript
from wgan.training.config import ARCHITECTURES, TrainConfig
from wgan.training.networks import build

Latents = npt.NDArray[np.float32]


Draw = Callable[[Latents], object]
"""Draws a batch of latents `[n, latent_dim]`."""


def rivals(config: Mapping[str, Any], latent_dim: int, threads: int) -> dict[str, Draw]:
    """The network of a manifest's `config`, in PyTorch and in TorchScript, on the CPU.

    The weights are new ones: how long a run takes does not depend on them.

    Raises:
        RunError: the configuration is of another version of wgan.
        UsageError: the networks are not wgan's own. A model file may come from anyone, and must
            not choose which code runs.
    """
    settings = TrainConfig.from_dict(dict(config), "the manifest")
    if settings.arch not in ARCHITECTURES:
        raise UsageError(f"the architecture {settings.arch} is not one of wgan's own")
    generator = build(settings)[0]
    generator.eval().requires_grad_(False)
    torch.set_num_threads(threads)
    scripted = freeze(load_torchscript(to_torchscript(generator, latent_dim)))
    return {"PyTorch": _run(generator), "TorchScript, frozen": _run(scripted)}


def _run(module: nn.Module) -> Draw:
    def run(drawn: Latents) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(drawn))

    return run
