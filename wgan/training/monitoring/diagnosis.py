"""Diagnoses of a run: pure functions of its metrics that find a problem and name a remedy.

NaN and Inf stop a run: see `step_stats.py`. Any other finding is logged once and training goes on.
"""

import math

import numpy as np
import numpy.typing as npt
from torch import nn

from wgan.images import Pixels
from wgan.training.monitoring.history import Column, History

Distances = npt.NDArray[np.float32]

MIN_STEPS = 100
"""Steps before the first diagnosis."""

WINDOW = 20
"""Logged steps that a diagnosis averages over."""

NEAR_ZERO = 0.02
"""An estimate below this share of the square root of the number of values is near 0.

A critic with slope 1 that separates images scores them about as far apart as they are, which is
of the order of that root: both are Euclidean distances of values in [-1, 1].
"""

NORM_TOLERANCE = 0.1
"""Distance of the critic's mean gradient norm from 1 up to which the penalty counts as met."""

OVERFIT = 0.5
"""The critic overfits if held-out images give less than this share of the estimate."""

MIN_SIGNAL_TO_NOISE = 2.0
"""Mean of an estimate over its standard deviation above which it differs from 0."""

COLLAPSED = 0.03
"""Diversity of a preview below which its images are all alike."""

PREVIEWS = 3
"""Previews in a row that have to be alike, or memorised."""

MAX_COMPARED = 1000
"""Largest set whose images are all compared with each preview."""

MAX_COMPARED_SIDE = 64
"""Height and width up to which all pixels are compared: the largest set then takes 50 MB."""

MEMORISED = 0.5
"""Novelty of a preview below which its images are copies of the data."""


def diagnose(history: History, critic: nn.Module, *, penalty: bool, values: int) -> dict[str, str]:
    """Return every problem of the run so far: its name -> what was seen, and what to do.

    `penalty`: whether one pulls the critic's gradient norm to 1. `values`: numbers in an image.
    """
    found = find_batch_norm(critic) if penalty else {}
    if len(history) == 0 or history.steps[-1] < MIN_STEPS:
        return found
    estimates, norms = history.column("wasserstein"), history.column("critic_gradient_norm")
    if penalty:
        found |= find_weak_critic(estimates, norms, NEAR_ZERO * math.sqrt(values))
    held_out = history.column("held_out_wasserstein", WINDOW)
    found |= find_overfitting(estimates[-WINDOW:], held_out)
    found |= find_memorising(history.column("novelty"))
    return found | find_collapse(history.column("diversity"))


def find_batch_norm(critic: nn.Module) -> dict[str, str]:
    """Batch norm in a critic under a gradient penalty (Gulrajani et al. 2017, section 4)."""
    if not any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in critic.modules()):
        return {}
    message = (
        "the critic has batch norm, so an image's score depends on the rest of its batch, but the"
        " gradient penalty needs a gradient per image. Use layer norm or none: --critic-norm"
        " layer, --critic-norm none"
    )
    return {"batch-norm-under-penalty": message}


def find_weak_critic(estimates: Column, norms: Column, near_zero: float) -> dict[str, str]:
    """A critic that never separated real from generated images and never met its penalty.

    With one critic update a step and a high rate the norm swings around 1 at first, while the
    estimate is near 0: such a critic learns.

    Args:
        estimates: the Wasserstein estimate at every logged step.
        norms: the critic's mean gradient norm at the same steps. NaN without a penalty: then there
            is no finding, as other constraints leave the scale of the estimate open.
        near_zero: an estimate below counts as 0.
    """
    norm = _mean(norms[-WINDOW:])
    if len(estimates) < WINDOW or math.isnan(norm) or abs(norm - 1) <= NORM_TOLERANCE:
        return {}
    if np.nanmin(norms) < 1 < np.nanmax(norms):
        return {}
    # A moving mean: the estimate of a single batch is noise around 0.
    length = WINDOW // 2
    smooth = np.convolve(estimates, np.full(length, 1 / length), mode="valid")
    if not np.all(np.abs(smooth) < near_zero):
        return {}
    message = (
        "the critic is too weak: the Wasserstein estimate has been near 0 from the start"
        f" ({_mean(estimates[-WINDOW:]):.2g} recently) and the critic's gradient norm is"
        f" {norm:.2g} instead of 1, so the generator has nothing to learn from. Raise"
        " --learning-rate, --n-critic or --width"
    )
    return {"critic-too-weak": message}


def find_overfitting(estimates: Column, held_out: Column) -> dict[str, str]:
    """A critic that has memorised its training images.

    Args:
        estimates: the Wasserstein estimate at the last logged steps.
        held_out: the same with held-out images as real ones; NaN where it was not measured.
    """
    measured = ~np.isnan(held_out)
    if np.count_nonzero(measured) < WINDOW // 2:
        return {}
    estimates, held_out = estimates[measured], held_out[measured]
    train, holdout = _mean(estimates), _mean(held_out)
    if not (train > MIN_SIGNAL_TO_NOISE * estimates.std() and holdout < OVERFIT * train):
        return {}
    message = (
        f"the critic overfits: its Wasserstein estimate is {train:.3g} on training images but"
        f" {holdout:.3g} on held-out ones. Train on more images (--flip doubles them), lower"
        " --width, or keep an earlier checkpoint"
    )
    return {"critic-overfits": message}


def find_collapse(diversity: Column) -> dict[str, str]:
    """A generator that makes the same image from every seed.

    `diversity` is that of every preview so far, NaN at steps without one.
    """
    last = diversity[~np.isnan(diversity)][-PREVIEWS:]
    if len(last) < PREVIEWS or not np.all(last < COLLAPSED):
        return {}
    message = (
        f"the generator collapsed: in the last {PREVIEWS} previews its images differ by only"
        f" {last[-1]:.1%} of what the data's images do. Start a new run with a lower"
        " --learning-rate or a higher --n-critic"
    )
    return {"generator-collapsed": message}


def find_memorising(novelty: Column) -> dict[str, str]:
    """A generator that has memorised its few training images.

    `novelty` is that of every preview so far, NaN at steps without one.
    """
    last = novelty[~np.isnan(novelty)][-PREVIEWS:]
    if len(last) < PREVIEWS or not np.all(last < MEMORISED):
        return {}
    message = (
        f"the generator copies: in the last {PREVIEWS} previews its images are {last[-1]:.2g} times"
        " as far from the nearest training image as those are from each other. Train on more"
        " images, with --augment color,translation,cutout or --flip in a new run, or keep an"
        " earlier checkpoint; wgan eval --neighbours shows the copies"
    )
    return {"generator-memorised": message}


def novelty(generated: Pixels, real: Pixels, usual: float | None = None) -> float:
    """Distance of generated images to the nearest real one, as a multiple of that between reals.

    About 1 for new images of the same kind, 0 for copies. Both are medians of Euclidean distances
    of pixels. `real` are all training images, `[n, height, width, channels]`, 2 at least; `usual`
    is their `usual_distance`, if it is known.
    """
    usual = usual_distance(real) if usual is None else usual
    found = np.median(np.sqrt(_squared_distances(generated, real).min(axis=1)))
    return float(found / usual) if usual > 0 else math.nan


def usual_distance(real: Pixels) -> float:
    """Median distance of real images to the nearest other one, for `novelty`."""
    among = _squared_distances(real, real)
    np.fill_diagonal(among, np.inf)
    return float(np.median(np.sqrt(among.min(axis=1))))


def _squared_distances(a: Pixels, b: Pixels) -> Distances:
    """Squared Euclidean distances, `[len(a), len(b)]`, of every k-th pixel of large images."""
    k = -(-max(a.shape[1:3]) // MAX_COMPARED_SIDE)
    x = a[:, ::k, ::k].reshape(len(a), -1).astype(np.float32)
    y = x if b is a else b[:, ::k, ::k].reshape(len(b), -1).astype(np.float32)
    squares = np.einsum("ij,ij->i", x, x)[:, None] + np.einsum("ij,ij->i", y, y)
    distances: Distances = np.maximum(squares - 2 * x @ y.T, 0)
    return distances


def spread(pixels: Pixels) -> float:
    """Mean standard deviation of a pixel over images `[n, height, width, channels]`, 0 to 127."""
    return float(pixels.std(axis=0, dtype=np.float32).mean()) if len(pixels) else 0.0


def _mean(values: Column) -> float:
    """Mean of the values that are not NaN; NaN if all are."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
