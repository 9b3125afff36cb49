"""Networks as public code has them train, and their exports pass the gate."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.training.test_conditional_run import images
from tests.training.tiny_run import tiny_config
from wgan.errors import ExportError
from wgan.export import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.parity.gate import Reference
from wgan.latents import latents_from_seeds
from wgan.runs import Run
from wgan.runtime import Generator
from wgan.training.checkpoint import load_checkpoint
from wgan.training.config import TrainConfig
from wgan.training.dry_pass import check_networks
from wgan.training.networks import Networks, build
from wgan.training.networks.latent_maps import FlatLatents
from wgan.training.state import TrainState
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")


class DCGAN(nn.Module):
    """Latents `[n, z, 1, 1]` -> grey images `[n, 1, 32, 32]`."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 8, 4, 1, 0), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 4, 4, 4, 0), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1),
            nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        """Draw images."""
        images: Tensor = self.main(z)
        return images


class Flat(DCGAN):
    """Latents `[n, z]`."""

    def forward(self, z: Tensor) -> Tensor:
        """Draw images."""
        return super().forward(z[:, :, None, None])


class Modulated(Flat):
    """A weight of five axes, as in public code of StyleGAN2."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.weight = nn.Parameter(torch.randn(1, 1, 1, 3, 3))

    def forward(self, z: Tensor) -> Tensor:
        """Draw images."""
        return torch.tanh(functional.conv2d(super().forward(z), self.weight[0], padding=1))


class Critic(nn.Module):
    """Scores `[n, 1]`, by `view` after a convolution, as most critics have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 4, 4)
        self.linear = nn.Linear(4 * 8 * 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        features = functional.leaky_relu(self.conv(x), 0.2)
        scores: Tensor = self.linear(features.view(x.size(0), -1))
        return scores


class Viewing(nn.Module):
    """A critic that views its images themselves as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        scores: Tensor = self.linear(x.view(x.size(0), -1)).squeeze(1)
        return scores


def dcgan(config: TrainConfig) -> Networks:
    return DCGAN(config.latent_dim), Critic()


def modulated(config: TrainConfig) -> Networks:
    return Modulated(config.latent_dim), Viewing()


def spectral(config: TrainConfig) -> Networks:
    """Spectral norm as it was before parametrisations: a weight that a hook computes."""
    generator, critic = DCGAN(config.latent_dim), Critic()
    for module in (generator.main[3], critic.conv):
        nn.utils.spectral_norm(module)
    return generator, critic


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("networks", [dcgan, modulated, spectral])
def test_networks_that_need_another_layout_or_latents_train_resume_and_export(
    networks: Callable[[TrainConfig], Networks], caplog: pytest.LogCaptureFixture
) -> None:
    run, config = Run(Path("run")), tiny_config(arch="mine:build", steps=2)
    data = images(16)
    check_networks(config, networks, (1, 32, 32))
    with caplog.at_level(logging.WARNING), Trainer(run, config, data, CPU, networks) as trainer:
        list(trainer.train())
    assert sum("channels are not last in memory" in line for line in caplog.messages) == 1
    config = tiny_config(arch="mine:build", steps=3)
    with Trainer(run, config, data, CPU, networks) as trainer:
        assert trainer.step == 2
        list(trainer.train())
    checkpoint = load_checkpoint(run)
    manifest = export_checkpoint(checkpoint, ExportConfig(), Path("g.onnx"), architecture=networks)
    assert manifest.latent_dim == config.latent_dim
    latents = latents_from_seeds(range(3), config.latent_dim)
    with torch.no_grad():
        expected = checkpoint.ema_generator(networks)(torch.from_numpy(latents)).numpy()
    with Generator("g.onnx") as generator:
        assert np.abs(generator.images(latents) - expected).max() < 1e-5


class Noisy(Flat):
    """Noise that is drawn inside, as StyleGAN does."""

    def forward(self, z: Tensor) -> Tensor:
        """Draw images."""
        return torch.tanh(super().forward(z) + 0.1 * torch.randn(len(z), 1, 32, 32))


def test_a_generator_that_draws_noise_is_not_exported() -> None:
    with pytest.raises(ExportError, match="draws no random numbers itself"):
        Reference.draw(Noisy(4).eval(), 4, 1)


def layout_of(generator: nn.Module, critic: nn.Module) -> set[bool]:
    """Whether the weights of convolutions have their channels last in memory."""
    config = TrainConfig(latent_dim=4, channels=1)
    state = TrainState(generator, critic, config, CPU)
    weights = [
        parameter
        for network in (state.generator, state.critic)
        for parameter in network.parameters()
        if parameter.dim() == 4 and min(parameter.shape[1:]) > 1
    ]
    return {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}


class Reshaping(Critic):
    """The same with `flatten`."""

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        scores: Tensor = self.linear(self.conv(x).flatten(1)).squeeze(1)
        return scores


def test_channels_are_last_only_where_the_networks_take_that() -> None:
    assert layout_of(Flat(4), Reshaping()) == {True}
    assert layout_of(Flat(4), Critic()) == {False}
    assert layout_of(Modulated(4), Reshaping()) == {False}


def test_latents_become_maps_only_where_the_generator_refuses_rows() -> None:
    config = TrainConfig(arch="mine:build", latent_dim=4, channels=1)
    rows = torch.randn(2, 4)
    generator, _ = build(config, dcgan)
    assert isinstance(generator, FlatLatents)
    assert torch.equal(generator(rows), generator.module(rows[:, :, None, None]))
    generator, _ = build(config, modulated)
    assert isinstance(generator, Modulated)
