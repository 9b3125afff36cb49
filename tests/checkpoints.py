"""Small trained checkpoints for tests, made in about a second without a data set."""

import dataclasses

import torch
from torch import Tensor, nn

from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState

SMALL = TrainConfig(
    data="/somebody/home/images",
    size=32,
    width=4,
    latent_dim=16,
    batch_size=8,
    n_critic=1,
    learning_rate=0.01,
)


def trained_checkpoint(
    config: TrainConfig = SMALL, steps: int = 4, **changes: object
) -> Checkpoint:
    """Return a checkpoint after a few steps on noise, which change every weight and buffer.

    `changes` replace fields of the configuration.
    """
    config = dataclasses.replace(config, **changes)  # type: ignore[arg-type]
    state = TrainState(*build(config), config, torch.device("cpu"))
    noise = torch.Generator().manual_seed(7)

    def next_batch() -> Tensor:
        shape = (config.batch_size, config.channels, config.height, config.image_width)
        return torch.rand(shape, generator=noise) * 2 - 1

    for step in train_steps(state, next_batch, config):
        if step.number == steps:
            break
    _increase_contrast(state.generator_ema, config)
    return Checkpoint.of(state, config, steps, batches_drawn=steps, data_sha256="0" * 64)


@torch.no_grad()
def _increase_contrast(generator: nn.Module, config: TrainConfig) -> None:
    """Scale the last layer so that images are not grey and errors are visible."""
    kinds = (nn.ConvTranspose2d, nn.Conv2d)
    last = [module for module in generator.modules() if isinstance(module, kinds)][-1]
    images = generator(
        torch.randn(64, config.latent_dim, generator=torch.Generator().manual_seed(8))
    )
    last.weight /= images.clamp(-0.99999, 0.99999).atanh().std()
