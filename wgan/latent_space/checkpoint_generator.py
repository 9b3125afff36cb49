"""The EMA generator of a checkpoint in PyTorch, used like `wgan.runtime.Generator`."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgan.errors import ModelFileError
from wgan.images import Images
from wgan.latent_space.config import LatentSpaceConfig
from wgan.latent_space.fixed_label import chosen_label
from wgan.latents import Latents
from wgan.runs import which_checkpoint
from wgan.training.checkpoint import Checkpoint, open_checkpoint
from wgan.training.device import pick_device
from wgan.training.networks import load_architecture

AFFINE = (nn.Linear, nn.modules.conv._ConvNd)
NORMS = nn.modules.batchnorm._BatchNorm


class CheckpointGenerator:
    """A generator with gradients; `images` is as that of `wgan.runtime.Generator`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: nn.Module,
        device: torch.device,
        label: int | None = None,
    ) -> None:
        """Make a generator of the images of one class, `label`, if the network has classes."""
        config = checkpoint.config
        self.network, self.label = network.to(device), label
        self.device = device
        self.latent_dim = config.latent_dim
        self.image_shape = config.image_shape
        self.settings = dataclasses.asdict(config)

    def draw(self, latents: Tensor) -> Tensor:
        """Generate images with gradients: `[n, latent_dim]` -> `[n, c, h, w]`."""
        inputs = [latents]
        if self.label is not None:
            inputs.append(torch.full((len(latents),), self.label, device=self.device))
        images: Tensor = self.network(*inputs)
        return images

    @torch.no_grad()
    def images(self, latents: Latents) -> Images:
        """Generate float images in one run: `[n, latent_dim]` -> `[n, c, h, w]` in [-1, 1]."""
        drawn = self.draw(torch.from_numpy(latents).to(self.device))
        images = np.ascontiguousarray(drawn.float().cpu().numpy())
        if not np.isfinite(images).all():
            raise ModelFileError("the checkpoint cannot be used: its images are not finite numbers")
        return images

    @torch.no_grad()
    def first_layer(self, latents: Latents) -> Images | None:
        """Return the first affine layer's output, `[n, ...]`; None if there is no such layer.

        A batch norm that follows at once counts as part of the layer, as in an export, which
        folds it into the weights.
        """
        outputs: list[tuple[nn.Module, Tensor]] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs.append((module, output.clone()))  # the next layer may work in place

        leaves = [each for each in self.network.modules() if not list(each.children())]
        hooks = [leaf.register_forward_hook(keep) for leaf in leaves]
        try:
            self.draw(torch.from_numpy(latents).to(self.device))
        finally:
            for hook in hooks:
                hook.remove()
        kinds = [isinstance(module, AFFINE) for module, _ in outputs]
        if True not in kinds:
            return None
        first = kinds.index(True)
        following = outputs[first + 1] if first + 1 < len(outputs) else outputs[first]
        _, output = following if isinstance(following[0], NORMS) else outputs[first]
        return np.ascontiguousarray(output.float().cpu().numpy())


def open_checkpoint_generator(path: Path, config: LatentSpaceConfig) -> CheckpointGenerator:
    """Open a run's checkpoint, or a file's. Raises as `wgan.latent_space.models.open_model`."""
    which = which_checkpoint(config.checkpoint, [path])
    architecture = load_architecture(config.arch) if config.arch else None
    device = pick_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    found = open_checkpoint(path, which)
    label = chosen_label(config.label, found.config.classes)
    return CheckpointGenerator(found, found.ema_generator(architecture), device, label)
