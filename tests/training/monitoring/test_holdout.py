import numpy as np
import pytest
import torch
from torch import nn

from wgan.training.config import TrainConfig
from wgan.training.data.batches import Batch, Examples
from wgan.training.data.dataset import split
from wgan.training.loop import train_steps
from wgan.training.monitoring.step_stats import HoldoutImages
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")


def test_a_split_covers_every_image_once_and_depends_only_on_the_seed() -> None:
    learned, held_out = split(101, 0.05, seed=3)
    assert len(held_out) == 6
    assert np.array_equal(np.sort(np.concatenate([learned, held_out])), np.arange(101))
    assert np.array_equal(split(101, 0.05, seed=3)[1], held_out)
    assert not np.array_equal(split(101, 0.05, seed=4)[1], held_out)


def test_nothing_is_held_out_by_default() -> None:
    pixels = np.zeros((5, 4, 4, 1), np.uint8)
    learned, held_out = split(5, 0.0, seed=0)
    assert len(learned) == 5
    assert HoldoutImages.of(Examples(pixels[learned]), Examples(pixels[held_out]), CPU) is None


def test_scoring_leaves_a_critic_with_batch_norm_as_it_was() -> None:
    _, critic = build(TrainConfig(critic_norm="batch", width=2))
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    pixels = np.random.RandomState(0).randint(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    holdout = HoldoutImages.of(Examples(pixels[3:]), Examples(pixels[:3]), CPU)
    assert holdout is not None
    holdout.holdout_scores(critic)
    assert critic.training
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())


@pytest.mark.slow
def test_a_critic_that_memorises_few_images_scores_them_higher() -> None:
    config = TrainConfig(
        arch="dcgan", width=8, latent_dim=4, batch_size=4, n_critic=5, learning_rate=2e-3
    )
    pixels = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    learned, unseen = split(8, 0.5, seed=0)
    holdout = HoldoutImages.of(Examples(pixels[learned]), Examples(pixels[unseen]), CPU)
    assert holdout is not None

    state = TrainState(*build(config), config, CPU)
    steps = train_steps(state, lambda: holdout.train.images, config)
    for _ in range(20):
        next(steps)
    train_score, holdout_score = holdout.holdout_scores(state.critic).tolist()
    assert train_score - holdout_score > 1


def test_the_score_is_the_mean_over_each_kind() -> None:
    class Brightness(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(1, 2, 3))

    holdout = HoldoutImages(Batch(torch.ones(2, 1, 4, 4)), Batch(torch.zeros(3, 1, 4, 4)))
    assert holdout.holdout_scores(Brightness()).tolist() == [1, 0]
