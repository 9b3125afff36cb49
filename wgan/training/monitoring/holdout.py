"""Images that the critic never trains on, which show when it has learned the others by heart."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from wgan.images import Pixels
from wgan.training.data.batches import to_batch

SCORED = 256
"""At most so many images of each kind are scored at a logged step."""


@dataclass(frozen=True)
class Scores:
    """Mean critic scores; the gap between them grows as the critic overfits."""

    learned: float  # of images that the critic trains on
    held_out: float  # of images that it has never seen

    @property
    def gap(self) -> float:
        """How much higher it scores what it trains on: about 0 unless it overfits."""
        return self.learned - self.held_out


@dataclass(frozen=True)
class HeldOut:
    """A fixed handful of images of each kind, on the device."""

    learned: Tensor  # [m, c, h, w] in [-1, 1]
    held_out: Tensor

    @classmethod
    def of(cls, learned: Pixels, held_out: Pixels, device: torch.device) -> Self | None:
        """Put both train_and_holdout_samples on the device; None where nothing is held out."""
        if len(held_out) == 0:
            return None
        return cls(to_batch(learned, device), to_batch(held_out, device))

    @torch.no_grad()
    def means(self, critic: nn.Module) -> Tensor:
        """Both train_and_holdout_samples' mean scores, learned and held out, `[2]`, on the device.

        The critic is left as it was: no gradient, no running statistic.
        """
        was_training = critic.training
        critic.eval()
        means = torch.stack([critic(self.learned).mean(), critic(self.held_out).mean()])
        critic.train(was_training)
        return means

    def score(self, critic: nn.Module) -> Scores:
        """`means` as numbers, which waits for the device."""
        return Scores(*self.means(critic).tolist())
