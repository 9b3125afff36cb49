"""Conditional networks: what an image and a score depend on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.training.config import TrainConfig
from wgan.training.networks import build, folded
from wgan.training.networks.conditioning import CLASS_DIM
from wgan.training.recipes import ARCHITECTURES

CLASSES = ("cat", "dog", "bird")


def networks(arch: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    config = TrainConfig(
        arch=arch, width=4, latent_dim=5, conditional=True, classes=CLASSES, **options
    )
    generator, critic = build(config)
    return generator.eval(), critic


def latents_and_labels() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("size", [32, 64])
def test_both_networks_take_labels(arch: str, size: int) -> None:
    generator, critic = networks(arch, size=size)
    latents, labels = latents_and_labels()
    images = generator(latents, labels)
    assert images.shape == (6, 3, size, size)
    assert critic(images, labels).shape == (6,)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_image_depends_on_its_own_latent_and_label_only(arch: str) -> None:
    generator, _ = networks(arch)
    latents, labels = latents_and_labels()
    together = generator(latents, labels)
    alone = torch.cat([generator(latents[k : k + 1], labels[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)
    other = generator(latents, (labels + 1) % 3)
    assert ((other - together).flatten(1) != 0).any(dim=1).all()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_score_depends_on_its_own_image_and_label_only(arch: str) -> None:
    _, critic = networks(arch)
    images, (_, labels) = torch.randn(6, 3, 32, 32), latents_and_labels()
    together = critic(images, labels)
    alone = torch.cat([critic(images[k : k + 1], labels[k : k + 1]) for k in range(6)])
    torch.testing.assert_close(alone, together, atol=1e-4, rtol=0)
    assert ((critic(images, (labels + 1) % 3) - together).abs() > 1e-4).all()


@pytest.mark.parametrize("arch", ["dcgan", "resnet"])
def test_the_class_part_of_a_score_is_a_projection_of_the_last_features(arch: str) -> None:
    _, critic = networks(arch)
    images, (_, labels) = torch.randn(6, 3, 32, 32), latents_and_labels()
    last = critic.get_submodule("layers.6" if arch == "dcgan" else "last")
    seen: list[Tensor] = []
    last.register_forward_hook(lambda _, inputs, score: seen.extend((inputs[0], score)))
    scores = critic(images, labels)
    features, unconditional = seen[0].flatten(1), seen[1].flatten()
    embedded = critic.get_parameter("projection.embedding.weight")[labels]
    expected = unconditional + torch.einsum("nf,nf->n", embedded, features)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_classes_add_an_embedding_and_leave_the_other_layers_as_they_are(arch: str) -> None:
    plain = build(TrainConfig(arch=arch, width=4, latent_dim=5 + CLASS_DIM))
    for one, other in zip(networks(arch), plain, strict=True):
        shapes, expected = (
            {name: weight.shape for name, weight in network.named_parameters()}
            for network in (one, other)
        )
        (added,) = shapes.keys() - expected.keys()
        assert added.endswith("embedding.weight")
        assert {name: shapes[name] for name in expected} == expected


def test_a_folded_conditional_generator_draws_the_same() -> None:
    generator, _ = networks("resize-conv")
    inputs = latents_and_labels()
    torch.testing.assert_close(folded(generator)(*inputs), generator(*inputs), atol=1e-5, rtol=0)


def test_spectral_norm_includes_the_projection() -> None:
    _, critic = networks("dcgan", constraint="spectral")
    for _ in range(50):  # its power iteration converges as the critic is used
        critic(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]))
    embedding: Any = critic.get_submodule("projection.embedding")
    weight = embedding.weight.detach()
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(1, abs=0.02)


def test_a_conditional_run_without_class_names_is_refused() -> None:
    with pytest.raises(UsageError, match="needs the names of its classes"):
        build(TrainConfig(conditional=True))
