"""How far two images are apart, and what a search for latents makes small.

The functions work alike on NumPy arrays and on PyTorch tensors, so that both searches make the same
thing small.
"""

import math
from typing import TypeVar

A = TypeVar("A")
"""A NumPy array or a PyTorch tensor."""

SMALLEST_SIDE = 8
"""Images are halved as long as their sides are even and at least this long."""


def distance(images: A, targets: A) -> A:
    """Mean squared error, averaged over the resolutions: `[n, c, h, w]` twice -> `[n]`.

    The resolutions are that of the images, and halves of it by 2x2 means down to 4 pixels or an odd
    side. The coarse ones count the place of large parts, which single pixels hardly do. The unit is
    that of squared images in [-1, 1]; see `to_levels`.
    """
    difference = images - targets  # type: ignore[operator]  # a mean of a difference is that of means
    total, resolutions = 0.0, 0
    while True:
        total = total + (difference**2).mean((1, 2, 3))
        resolutions += 1
        n, c, h, w = difference.shape
        if h % 2 or w % 2 or min(h, w) < SMALLEST_SIDE:
            result: A = total / resolutions
            return result
        difference = difference.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def penalty(latents: A) -> A:
    """Penalty on latents longer than those of the training: `[n, latent_dim]` -> `[n]`.

    The numbers of a latent are standard normal, so their root mean square r is near 1. The penalty
    is max(0, r - 1) squared: nothing inside the shell on which latents lie, more and more outside.
    """
    rms = (latents**2).mean(1) ** 0.5  # type: ignore[operator]
    result: A = ((rms - 1) * (rms > 1)) ** 2
    return result


def to_levels(value: float) -> float:
    """Return the root of a `distance` in levels of pixels, 0 to 255."""
    return 127.5 * math.sqrt(value)
