"""Differentiable augmentation of real and generated images (Zhao et al. 2020, arXiv:2006.10738).

The critic sees augmented images only, real and generated ones alike, so a small set is memorised
later; the generator's gradients pass through the augmentation of its images, so it still learns to
draw images as they are. Each image is augmented at random, independently of the others.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from wgan.training.recipes import AUGMENTATIONS, AUGMENTED_BELOW

SHIFT = 1 / 8
"""Largest translation either way, as a share of the height and width."""

CUTOUT = 1 / 2
"""Height and width of what is cut out, as a share of the image's."""

Uniform = Callable[[], Tensor]
"""Returns numbers uniform on [0, 1], one for each image: `[n, 1, 1, 1]`."""


def resolve_augment(policy: str, count: int | None) -> str:
    """Return what "auto" means for a set of `count` images, None if unknown; others as they are."""
    if policy != "auto":
        return policy
    is_small = count is not None and count < AUGMENTED_BELOW
    return ",".join(AUGMENTATIONS) if is_small else "none"


def augment(images: Tensor, policy: str, uniform: Uniform) -> Tensor:
    """Augment images `[n, c, h, w]` in [-1, 1]; differentiable.

    Args:
        images: each is augmented in its own way.
        policy: names from `POLICIES` with commas between them, or "none". "auto" is none too: a
            run replaces it (`resolve_augment`), a loop without a data set has nothing to go by.
        uniform: the source of random numbers; not called with "none".
    """
    if policy in ("none", "auto"):
        return images
    for name in policy.split(","):
        images = POLICIES[name](images, uniform)
    return images


def change_colour(images: Tensor, uniform: Uniform) -> Tensor:
    """Change brightness by up to 0.5 either way, saturation by 0 to 2, contrast by 0.5 to 1.5.

    Alpha stays. Grey images have no saturation, and neither have more than 3 bands, each of which
    may mean something else.
    """
    channels = images.shape[1]
    colours = channels - 1 if channels in (2, 4) else channels
    x, alpha = images[:, :colours], images[:, colours:]
    x = x + (uniform() - 0.5)
    if colours == 3:
        grey = x.mean(dim=1, keepdim=True)
        x = torch.lerp(grey, x, 2 * uniform())
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = torch.lerp(mean, x, 0.5 + uniform())
    return torch.cat([x, alpha], dim=1) if alpha.shape[1] else x


def translate(images: Tensor, uniform: Uniform) -> Tensor:
    """Move each image by up to `SHIFT` of its height and width; 0 fills the rest."""
    n, _, height, width = images.shape
    most_down, most_right = round(height * SHIFT), round(width * SHIFT)
    padded = functional.pad(images, (most_right, most_right, most_down, most_down))
    # Offsets of the window in the padded image, from 0 to twice the largest shift. (n,)
    top = _whole_numbers(uniform(), 2 * most_down + 1)
    left = _whole_numbers(uniform(), 2 * most_right + 1)
    rows = top[:, None] + torch.arange(height, device=images.device)  # (n, h)
    columns = left[:, None] + torch.arange(width, device=images.device)  # (n, w)
    each = torch.arange(n, device=images.device)[:, None, None]
    # Indexing puts the channels last: (n, h, w, c) -> (n, c, h, w)
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, uniform: Uniform) -> Tensor:
    """Set half the height and width of each image to 0, around a random point of it."""
    _, _, height, width = images.shape
    inside_rows = _around(uniform(), height, images.device)[:, None, :, None]
    inside_columns = _around(uniform(), width, images.device)[:, None, None, :]
    return images.masked_fill(inside_rows & inside_columns, 0)


def _around(centre: Tensor, length: int, device: torch.device) -> Tensor:
    """Whether each position is in the cut around `centre`, a share of `length`; `[n, length]`."""
    positions = torch.arange(length, device=device)
    size = round(length * CUTOUT)
    first = _whole_numbers(centre, length + 1 - size % 2) - size // 2
    distance = positions - first[:, None]
    return (distance >= 0) & (distance < size)


def _whole_numbers(uniform: Tensor, count: int) -> Tensor:
    """Whole numbers from 0 to `count - 1` as likely as each other, `[n]`."""
    # The product can be rounded up to `count`.
    return (uniform.flatten() * count).long().clamp(max=count - 1)


POLICIES: Mapping[str, Callable[[Tensor, Uniform], Tensor]] = MappingProxyType(
    {"color": change_colour, "translation": translate, "cutout": cut_out}
)
"""The names that `--augment` takes are those of DiffAugment's code."""
