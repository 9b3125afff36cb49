import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from wgan.errors import UsageError
from wgan.image_shape import SIDES
from wgan.training.config import TrainConfig
from wgan.training.networks import DCGANCritic, DCGANGenerator, build, load_architecture
from wgan.training.networks.maps import last_map_size, map_sizes


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
def test_the_networks_have_the_documented_shapes(arch: str, size: int, channels: int) -> None:
    config = TrainConfig(arch=arch, size=size, channels=channels, width=2, latent_dim=5)
    generator, critic = build(config)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, size, size)
    assert float(images.detach().abs().max()) <= 1
    assert critic(images).shape == (3,)


@pytest.mark.parametrize("size", [16, 20, 28, 36, 44, 96, "48x80", "64x16", "100x36"])
@pytest.mark.parametrize("arch", ["resize-conv", "dcgan", "resnet"])
@pytest.mark.parametrize("channels", [2, 5])
def test_the_networks_have_any_size_and_channels(arch: str, size: int | str, channels: int) -> None:
    config = TrainConfig(arch=arch, size=size, channels=channels, width=2, latent_dim=5)
    generator, critic = build(config)
    images = generator(torch.randn(3, 5))
    assert images.shape == (3, channels, config.height, config.image_width)
    assert critic(images).shape == (3,)


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        (28, [(7, 7), (14, 14), (28, 28)]),
        (32, [(4, 4), (8, 8), (16, 16), (32, 32)]),
        (36, [(5, 5), (9, 9), (18, 18), (36, 36)]),
        ("48x80", [(6, 10), (12, 20), (24, 40), (48, 80)]),
    ],
)
def test_maps_are_doubled_and_cropped_to_the_images_size(
    size: int | str, sizes: list[tuple[int, int]]
) -> None:
    assert map_sizes(size) == sizes


def test_every_allowed_side_begins_with_a_small_map() -> None:
    for side in SIDES:
        first, *_, last = map_sizes(side)
        assert 4 <= first[0] <= 7
        assert last == (side, side)
        assert min(last_map_size(side)) >= 3


def test_the_networks_at_64_pixels_are_those_of_the_article() -> None:
    generator, critic = (
        DCGANGenerator(64, 3, 100, width=8),
        DCGANCritic(64, 3, width=8, norm="batch"),
    )
    ups = [module for module in generator.layers if isinstance(module, nn.ConvTranspose2d)]
    downs = [module for module in critic.layers if isinstance(module, nn.Conv2d)]
    assert [up.out_channels for up in ups] == [128, 64, 32, 16, 3]
    assert [(up.stride, up.padding) for up in ups] == [((1, 1), (0, 0))] + [((2, 2), (1, 1))] * 4
    assert [down.out_channels for down in downs] == [8, 16, 32, 64, 1]
    assert all(layer.kernel_size == (4, 4) for layer in [*ups, *downs])
    assert sum(isinstance(module, nn.BatchNorm2d) for module in critic.layers) == 4


@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
@pytest.mark.parametrize("norm", ["none", "layer", "instance"])
def test_without_batch_norm_a_score_depends_on_its_own_image_only(arch: str, norm: str) -> None:
    _, critic = build(TrainConfig(arch=arch, critic_norm=norm, width=4))
    images = torch.randn(4, 3, 32, 32)
    together = critic(images)
    alone = torch.cat([critic(image[None]) for image in images])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_seed_determines_the_weights_and_the_global_random_state_is_unchanged() -> None:
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


def test_batch_norm_couples_the_images_of_a_batch() -> None:
    _, critic = build(TrainConfig(critic_norm="batch", width=4))
    images = torch.randn(4, 3, 32, 32)
    assert not torch.allclose(critic(images)[:2], critic(images[:2]), atol=1e-3)


def test_the_resnet_at_32_pixels_is_that_of_the_paper() -> None:
    generator, critic = build(TrainConfig.resolve({"recipe": "resnet"}))
    # Appendix F: three doublings of 128 maps, and a critic of four blocks of 128 maps.
    maps = [module.out_channels for module in generator.modules() if isinstance(module, nn.Conv2d)]
    assert maps == [128] * 9 + [3]  # two convolutions and a shortcut a block, then to the image
    seen = [module.out_channels for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert seen == [128] * 10  # of these, two shortcuts, in the blocks that halve
    assert not any(isinstance(module, nn.BatchNorm2d) for module in critic.modules())


def test_spectral_normalisation_sets_every_layers_largest_singular_value_to_one() -> None:
    _, critic = build(TrainConfig(constraint="spectral", width=4))
    for _ in range(50):  # its power iteration converges as the critic is used
        critic(torch.randn(2, 3, 32, 32))
    layers = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, abs=0.02)


def test_user_networks_are_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n"
        "def build(config):\n"
        "    shape = (config.channels, config.size, config.size)\n"
        "    values = config.channels * config.size**2\n"
        "    generator = nn.Sequential(nn.Linear(config.latent_dim, values), nn.Tanh(),\n"
        "                              nn.Unflatten(1, shape))\n"
        "    critic = nn.Sequential(nn.Flatten(), nn.Linear(values, 1), nn.Flatten(0))\n"
        "    return generator, critic\n"
    )
    config = TrainConfig(arch="my_networks:build")
    with pytest.raises(UsageError, match="give --arch my_networks:build to allow"):
        build(config)
    generator, critic = build(config, load_architecture(config.arch))
    assert critic(generator(torch.randn(3, 128))).shape == (3,)


@pytest.mark.parametrize("name", ["not_there:build", "json:not_there", "json:__name__"])
def test_a_missing_architecture_is_named(name: str) -> None:
    with pytest.raises(UsageError, match=f"--arch {name}"):
        load_architecture(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "os:getcwd",
            r"cannot be called .*getcwd.*: write a function of one",
        ),
        ("copy:copy", "returned TrainConfig: it must return a generator"),
        (
            "my_networks:two_arguments",
            "cannot be called .*two_arguments.*: write a function",
        ),
        ("my_networks:one_network", "returned Linear: it must return a generator"),
    ],
)
def test_a_function_that_does_not_build_networks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    (tmp_path / "my_networks.py").write_text(WRONG)
    with pytest.raises(UsageError, match=f"--arch {name} {sentence}"):
        build(TrainConfig(arch=name), load_architecture(name))
    sys.modules.pop("my_networks", None)


def test_an_error_inside_the_function_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    (tmp_path / "my_networks.py").write_text(WRONG)
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        build(TrainConfig(arch="my_networks:mistaken"), load_architecture("my_networks:mistaken"))
    sys.modules.pop("my_networks", None)


WRONG = """
from torch import nn

def two_arguments(config, other): ...

def one_network(config): return nn.Linear(2, 2)

def mistaken(config): return nothing(config)

def nothing(): ...
"""
