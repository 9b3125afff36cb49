import pytest
import torch
from torch import nn
from wgan.training.config import TrainConfig
from wgan.training.networks import Critic, Generator, build


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_latents_become_images_and_images_scores(size: int, channels: int) -> None:
    config = TrainConfig(size=size, channels=channels, width=2, latent_dim=5)
    generator, critic = build(config)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert float(images.detach().abs().max()) <= 1
    assert critic(images).shape == (3,)


def test_the_networks_at_64_pixels_are_the_articles() -> None:
    generator, critic = Generator(64, 3, 100, width=8), Critic(64, 3, width=8, norm="batch")
    ups = [module for module in generator.layers if isinstance(module, nn.ConvTranspose2d)]
    downs = [module for module in critic.layers if isinstance(module, nn.Conv2d)]
    assert [up.out_channels for up in ups] == [128, 64, 32, 16, 3]
    assert [(up.stride, up.padding) for up in ups] == [((1, 1), (0, 0))] + [((2, 2), (1, 1))] * 4
    assert [down.out_channels for down in downs] == [8, 16, 32, 64, 1]
    assert all(layer.kernel_size == (4, 4) for layer in [*ups, *downs])
    assert sum(isinstance(module, nn.BatchNorm2d) for module in critic.layers) == 4


def test_the_default_critic_scores_each_image_alone() -> None:
    _, critic = build(TrainConfig(width=4))
    images = torch.randn(4, 3, 32, 32)
    together = critic(images)
    alone = torch.cat([critic(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = build(TrainConfig(width=2, seed=3)), build(TrainConfig(width=2, seed=3))
    assert torch.equal(torch.rand(1), expected)
    for one, two in zip(first, second, strict=True):
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(a, b)
    other, _ = build(TrainConfig(width=2, seed=4))
    assert not torch.equal(next(first[0].parameters()), next(other.parameters()))
