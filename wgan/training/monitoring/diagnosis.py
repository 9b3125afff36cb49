"""What is wrong with a run, in words, and what to do about it: pure functions of its figures.

NaN and Inf stop a run: see `finite.py`. The rest is said once, and the run goes on.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import nn

from wgan.images import Pixels
from wgan.training.monitoring.history import Column, History

YOUNG = 100
"""Steps before which nothing is judged."""

WINDOW = 20
"""Logged steps that a judgement looks back on; a single one says little."""

NEAR_ZERO = 0.02
"""An estimate below this share of the root of an image's values is near 0.

A critic with slope 1 that tells images apart scores them about as far apart as they are, which is
a good part of that root: both are Euclidean lengths in the range [-1, 1].
"""

NORM_SLACK = 0.1
"""How far from 1 the critic's mean gradient norm may be, before the penalty counts as not met."""

OVERFIT = 0.5
"""A critic overfits when held-out images give less than this share of the estimate."""

NOISE = 2.0
"""An estimate is told from 0 when it is more than so many times as large as it varies."""

COLLAPSED = 0.03
"""Previews whose seeds differ by less than this share of what the data does are all alike."""

PREVIEWS = 3
"""So many previews in a row must be alike."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a run."""

    name: str  # what it goes by in metrics.jsonl
    words: str  # what was seen, and what to do


def diagnose(history: History, critic: nn.Module, *, penalty: bool, values: int) -> list[Finding]:
    """All that is wrong with a run as far as it has come.

    Args:
        history: the run's figures.
        critic: the network.
        penalty: whether a gradient penalty constrains it.
        values: how many numbers an image has: channels times height times width.
    """
    found: list[Finding] = []
    if penalty:
        found.extend(find_batch_norm(critic))
    if len(history) == 0 or history.steps[-1] < YOUNG:
        return found
    estimates, norms = history.column("wasserstein"), history.column("critic_gradient_norm")
    found.extend(find_weak_critic(estimates, norms[-WINDOW:], NEAR_ZERO * math.sqrt(values)))
    held_out = history.column("held_out_wasserstein", WINDOW)
    found.extend(find_overfitting(estimates[-WINDOW:], held_out))
    found.extend(find_collapse(history.column("diversity")))
    return found


def find_batch_norm(critic: nn.Module) -> Iterator[Finding]:
    """Batch norm in a critic under a gradient penalty (Gulrajani et al. 2017, section 4)."""
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in critic.modules()):
        yield Finding(
            "batch-norm-under-penalty",
            "the critic has batch norm, so an image's score depends on the others of its batch,"
            " and the gradient penalty, which wants a slope for each image alone, means little."
            " Take layer norm or none: --critic-norm layer, --critic-norm none",
        )


def find_weak_critic(estimates: Column, norms: Column, near_zero: float) -> Iterator[Finding]:
    """A critic that has never told real from generated images, and does not meet its penalty.

    Args:
        estimates: the Wasserstein estimate at every logged step of the run so far.
        norms: the critic's mean gradient norm at the last ones; NaN where there is no penalty,
            and then nothing is said: other constraints leave the estimate on a scale of its own.
        near_zero: the estimate that counts as 0.
    """
    norm = _mean(norms)
    if len(estimates) < WINDOW or math.isnan(norm) or abs(norm - 1) <= NORM_SLACK:
        return
    if np.all(np.abs(_moving_mean(estimates, WINDOW // 2)) < near_zero):
        yield Finding(
            "critic-too-weak",
            "the critic is too weak: the Wasserstein estimate has been near 0 from the start"
            f" ({_mean(estimates[-WINDOW:]):.2g} of late) and the critic's gradient norm is"
            f" {norm:.2g} instead of 1, so the generator has nothing to learn from. Raise"
            " --learning-rate, --n-critic or --width",
        )


def find_overfitting(estimates: Column, held_out: Column) -> Iterator[Finding]:
    """A critic that knows its training images by heart.

    Args:
        estimates: the Wasserstein estimate at the last logged steps.
        held_out: the same with held-out images for real ones; NaN where it was not taken.
    """
    taken = ~np.isnan(held_out)
    if np.count_nonzero(taken) < WINDOW // 2:
        return
    estimates, held_out = estimates[taken], held_out[taken]
    trained, unseen = _mean(estimates), _mean(held_out)
    if trained > NOISE * estimates.std() and unseen < OVERFIT * trained:
        yield Finding(
            "critic-overfits",
            f"the critic overfits: its Wasserstein estimate is {trained:.3g} on the images it"
            f" learns from but {unseen:.3g} on held-out ones. Train on more images (--flip"
            " doubles them), lower --width, or keep an earlier checkpoint",
        )


def find_collapse(diversity: Column) -> Iterator[Finding]:
    """A generator that draws one image for all seeds.

    `diversity` is that of every preview so far, with NaN where a step has none.
    """
    last = diversity[~np.isnan(diversity)][-PREVIEWS:]
    if len(last) == PREVIEWS and np.all(last < COLLAPSED):
        yield Finding(
            "generator-collapsed",
            f"the generator collapsed: over the last {PREVIEWS} previews its seeds differ by only"
            f" {last[-1]:.1%} of what the data's images do. Begin anew with a lower"
            " --learning-rate or a higher --n-critic",
        )


def spread(pixels: Pixels) -> float:
    """How much images `[n, height, width, channels]` differ: mean deviation in grey levels."""
    return float(pixels.std(axis=0, dtype=np.float32).mean()) if len(pixels) else 0.0


def _mean(values: Column) -> float:
    """The mean of the values that are numbers; NaN when none is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan


def _moving_mean(values: Column, length: int) -> Column:
    return np.convolve(values, np.full(length, 1 / length), mode="valid")
