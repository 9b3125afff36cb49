"""Differentiable augmentation: what each policy does to an image, and to its gradient."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wgan.errors import UsageError
from wgan.training.augmentation import (
    POLICIES,
    augment,
    change_colour,
    cut_out,
    resolve_augment,
    translate,
)
from wgan.training.config import TrainConfig
from wgan.training.recipes import AUGMENTATIONS, AUGMENTED_BELOW

N = 64


def uniform(seed: int = 0, n: int = N) -> Callable[[], Tensor]:
    """Return a source of random numbers as the loop has it."""
    rng = torch.Generator().manual_seed(seed)
    return lambda: torch.rand((n, 1, 1, 1), generator=rng)


def images(channels: int = 3, height: int = 16, width: int = 24) -> Tensor:
    """Return random images in [-1, 1]."""
    rng = torch.Generator().manual_seed(1)
    return torch.rand((N, channels, height, width), generator=rng) * 2 - 1


def fail() -> Tensor:
    """Stand for a source that must not be used."""
    raise AssertionError("random numbers were drawn")


def test_none_returns_the_images_and_draws_no_random_numbers() -> None:
    x = images()
    assert augment(x, "none", fail) is x


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_keeps_the_shape_and_changes_each_image_in_its_own_way(
    name: str, channels: int
) -> None:
    x = images(channels)[:1].expand(N, -1, -1, -1)
    y = augment(x, name, uniform())
    assert y.shape == x.shape
    assert len({tuple(each.flatten().tolist()) for each in y}) > N // 4


def test_the_same_random_numbers_give_the_same_images() -> None:
    x, policy = images(), "color,translation,cutout"
    assert torch.equal(augment(x, policy, uniform(3)), augment(x, policy, uniform(3)))
    assert not torch.equal(augment(x, policy, uniform(3)), augment(x, policy, uniform(4)))


def test_an_image_is_augmented_without_a_look_at_the_others() -> None:
    x, policy = images(), "color,translation,cutout"
    other = x.clone()
    other[1:] = 0
    assert torch.equal(augment(x, policy, uniform())[0], augment(other, policy, uniform())[0])


def test_a_translation_moves_an_image_by_an_eighth_at_most_and_fills_with_0() -> None:
    y = translate(images(height=16, width=24), uniform())
    x = images(height=16, width=24)
    moves = set()
    for before, after in zip(x, y, strict=True):
        down, right = next(
            (down, right)
            for down in range(-2, 3)
            for right in range(-3, 4)
            if torch.equal(
                after[:, max(0, down) : 16 + min(0, down), max(0, right) : 24 + min(0, right)],
                before[:, max(0, -down) : 16 + min(0, -down), max(0, -right) : 24 + min(0, -right)],
            )
        )
        moves.add((down, right))
        assert after[:, : max(0, down)].abs().sum() == 0
        assert after[:, :, : max(0, right)].abs().sum() == 0
    assert {down for down, _ in moves} == set(range(-2, 3))
    assert {right for _, right in moves} == set(range(-3, 4))


def test_a_cutout_sets_a_rectangle_of_at_most_half_the_sides_to_0_in_all_channels() -> None:
    y = cut_out(torch.ones(N, 3, 16, 24), uniform())
    cut = y == 0
    assert torch.equal(cut[:, :1].expand_as(cut), cut)
    rows, columns = cut[:, 0].any(dim=2).sum(dim=1), cut[:, 0].any(dim=1).sum(dim=1)
    assert int(rows.max()) == 8
    assert int(columns.max()) == 12
    assert int(rows.min()) >= 4
    assert torch.equal(cut[:, 0].sum(dim=(1, 2)), rows * columns)


def test_colours_change_and_alpha_and_hues_of_many_bands_stay() -> None:
    x = images(4)
    y = change_colour(x, uniform())
    assert torch.equal(y[:, 3], x[:, 3])
    assert not torch.equal(y[:, :3], x[:, :3])
    bands = images(5)
    changed = change_colour(bands, uniform())
    # Brightness and contrast are one affine map of all values of an image.
    for before, after in zip(bands, changed, strict=True):
        matrix = torch.stack([before.flatten(), torch.ones(before.numel())], dim=1)
        fit = torch.linalg.lstsq(matrix, after.flatten()[:, None]).solution
        torch.testing.assert_close(matrix @ fit, after.flatten()[:, None], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", POLICIES)
def test_gradients_pass_to_the_images(name: str) -> None:
    x = images().double().requires_grad_()
    rng = torch.Generator().manual_seed(0)
    numbers = [torch.rand((N, 1, 1, 1), generator=rng, dtype=torch.float64) for _ in range(8)]

    def apply(values: Tensor) -> Tensor:
        left = iter(numbers)
        return augment(values, name, lambda: next(left))

    (gradient,) = torch.autograd.grad(apply(x).sin().sum(), x)
    direction = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        step = 1e-6
        ahead, behind = apply(x + step * direction), apply(x - step * direction)
        slope = (ahead.sin().sum() - behind.sin().sum()) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("policy", "count", "resolved"),
    [
        ("auto", AUGMENTED_BELOW - 1, ",".join(AUGMENTATIONS)),
        ("auto", AUGMENTED_BELOW, "none"),
        ("auto", None, "none"),
        ("none", 10, "none"),
        ("cutout", 10**6, "cutout"),
    ],
)
def test_auto_augments_small_sets_only(policy: str, count: int | None, resolved: str) -> None:
    assert resolve_augment(policy, count) == resolved


def test_the_names_of_the_option_are_those_of_the_policies() -> None:
    assert set(AUGMENTATIONS) == POLICIES.keys()
    assert TrainConfig.resolve({}).augment == "auto"
    assert TrainConfig.resolve({"recipe": "wgan-gp"}).augment == "none"
    for wrong in ("colour", "cutout,", "auto,cutout", ""):
        with pytest.raises(
            UsageError, match=r"--augment .* is not allowed: auto, none, or some of"
        ):
            TrainConfig(augment=wrong)
