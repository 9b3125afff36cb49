"""Held-out images, which the critic never trains on: they show when it overfits."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wgan.images import Pixels
from wgan.training.data.batches import to_batch

MAX_SCORED = 256
"""At most this many images of each kind are scored at a logged step."""


@dataclass(frozen=True)
class HoldoutImages:
    """A fixed sample of training images and of held-out images, on the device."""

    train: Tensor  # [m, c, h, w] in [-1, 1]
    holdout: Tensor  # [n, c, h, w]

    @classmethod
    def of(cls, train: Pixels, holdout: Pixels, device: torch.device) -> Self | None:
        """Put both samples on the device; None if no image is held out."""
        if len(holdout) == 0:
            return None
        return cls(to_batch(train, device), to_batch(holdout, device))

    @torch.no_grad()
    def holdout_scores(self, critic: nn.Module) -> Tensor:
        """Mean critic score of the training and of the held-out images, `[2]`, on the device.

        The gap between them is about 0 unless the critic overfits. The critic is left as it was:
        no gradient, no running statistics.
        """
        was_training = critic.training
        critic.eval()
        means = torch.stack([critic(self.train).mean(), critic(self.holdout).mean()])
        critic.train(was_training)
        return means
