"""Metrics against closed forms, plain definitions, constructed sets and torch-fidelity."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from wgan.errors import UsageError
from wgan.evaluation.feature_metrics import (
    TILE,
    density_coverage,
    fid,
    frechet_distance,
    kid,
    precision_recall,
    radii,
)
from wgan.evaluation.features import Vectors
from wgan.evaluation.statistics import Float64Array, InceptionScore, Moments


def drawn(n: int, d: int, seed: int, spread: float = 1.0, shift: float = 0.0) -> Vectors:
    return shift + spread * np.random.RandomState(seed).standard_normal((n, d))


def a_covariance(d: int, seed: int) -> Float64Array:
    root: Float64Array = drawn(d, d, seed).astype(np.float64)
    return root @ root.T


def inception_score(logits: Vectors, splits: int = 10) -> float:
    """The score of logits that come in batches."""
    score = InceptionScore(len(logits), splits)
    for first in range(0, len(logits), 16):
        score.add(logits[first : first + 16])
    return score.value


def test_the_distance_of_gaussians_with_common_axes_is_the_closed_form() -> None:
    # |mu1 - mu2|^2 + sum (s1 - s2)^2 where both covariances have the same axes, turned here.
    axes, _ = np.linalg.qr(drawn(5, 5, 0))
    one, two = np.array([1.0, 2, 3, 4, 0]), np.array([2.0, 2, 1, 0, 0])
    mean1, mean2 = drawn(2, 5, 1)
    covariances = [(axes * deviations**2) @ axes.T for deviations in (one, two)]
    expected = np.square(mean1 - mean2).sum() + np.square(one - two).sum()
    found = frechet_distance(mean1, covariances[0], mean2, covariances[1])
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_distance_of_planar_gaussians_is_the_closed_form() -> None:
    # For 2x2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)).
    one, two = a_covariance(2, 3), a_covariance(2, 4)
    product = one @ two
    shared = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
    expected = np.trace(one) + np.trace(two) - 2 * shared
    zero = np.zeros(2)
    assert frechet_distance(zero, one, zero, two) == pytest.approx(expected, abs=1e-9)


def test_the_fid_of_samples_converges_to_the_distance_of_their_gaussians() -> None:
    one, two = drawn(200_000, 3, 0), drawn(200_000, 3, 1, spread=2.0, shift=0.5)
    assert fid(one, two) == pytest.approx(3 * 0.5**2 + 3 * 1.0, rel=0.02)


@pytest.mark.parametrize("n", [300, 20])  # more and fewer images than numbers in a vector
def test_the_fid_equals_torch_fidelitys(n: int) -> None:
    real, generated = drawn(n, 40, 0), drawn(n + 7, 40, 1, spread=1.5, shift=0.2)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(real)),
        fid_features_to_statistics(torch.from_numpy(generated)),
        verbose=False,
    )["frechet_inception_distance"]
    # Theirs takes roots of rounding errors about 0 where a covariance lacks full rank.
    assert fid(real, generated) == pytest.approx(theirs, abs=1e-4)


def test_the_fid_is_0_for_equal_sets_and_symmetric() -> None:
    one, two = drawn(50, 8, 0).astype(np.float32), drawn(60, 8, 1, shift=3.0).astype(np.float32)
    assert fid(one, one) == pytest.approx(0, abs=1e-5)
    assert fid(one, two) == pytest.approx(fid(two, one))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_moments_of_batches_are_those_of_the_whole(sizes: list[int], seed: int) -> None:
    vectors = drawn(sum(sizes), 4, seed, shift=100.0)
    parts = np.split(vectors, np.cumsum(sizes)[:-1])
    total = Moments.of(parts[0])
    for part in parts[1:]:
        total = total + Moments.of(part)
    np.testing.assert_allclose(total.mean, vectors.mean(axis=0), rtol=1e-12)
    if len(vectors) > 1:
        expected = np.cov(vectors, rowvar=False)
        np.testing.assert_allclose(total.covariance, expected, atol=1e-9)


def test_moments_are_accurate_far_from_0() -> None:
    vectors = drawn(1000, 3, 0)
    far = Moments.of(vectors[:300] + 1e6) + Moments.of(vectors[300:] + 1e6)
    np.testing.assert_allclose(far.covariance, np.cov(vectors, rowvar=False), atol=1e-8)


@pytest.mark.parametrize(("subsets", "size"), [(1, 80), (7, 30)])
def test_the_kid_equals_torch_fidelitys(subsets: int, size: int) -> None:
    real, generated = drawn(80, 16, 0), drawn(80, 16, 1, shift=0.3)
    theirs = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(generated),
        kid_subsets=subsets,
        kid_subset_size=size,
        rng_seed=2020,
        verbose=False,
    )
    ours = kid(real, generated, subsets, size)
    assert ours == pytest.approx(theirs["kernel_inception_distance_mean"], abs=1e-12)


def test_the_kid_of_sets_of_one_distribution_is_0_within_its_error() -> None:
    values = [kid(drawn(400, 8, k), drawn(400, 8, 1000 + k), 1, 400) for k in range(30)]
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error
    assert kid(drawn(400, 8, 0), drawn(400, 8, 1, shift=0.2), 1, 400) > 10 * error


def test_the_kid_is_unbiased_in_n() -> None:
    def values(n: int) -> list[float]:
        pairs = ((drawn(n, 4, k), drawn(n, 4, 5000 + k, shift=0.5)) for k in range(1000))
        return [kid(one, two, 1) for one, two in pairs]

    few, many = values(10), values(50)
    error = math.hypot(np.std(few), np.std(many)) / math.sqrt(1000)
    assert abs(np.mean(few) - np.mean(many)) < 3 * error < 0.15 * np.mean(many)


def test_the_inception_score_of_certain_balanced_classes_is_their_number() -> None:
    logits = np.tile(1000.0 * np.eye(7), (30, 1))
    assert inception_score(logits, splits=3) == pytest.approx(7)


def test_the_inception_score_of_one_class_or_of_uniform_logits_is_1() -> None:
    assert inception_score(np.zeros((50, 10))) == pytest.approx(1)
    one_class = np.tile(1000.0 * np.eye(10)[3], (50, 1))
    assert inception_score(one_class) == pytest.approx(1)


@pytest.mark.parametrize("n", [100, 95, 97])  # parts of one size, and of two
def test_the_inception_score_of_batches_equals_torch_fidelitys(n: int) -> None:
    logits = drawn(n, 12, 0, spread=3.0)
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    assert inception_score(logits) == pytest.approx(theirs["inception_score_mean"], abs=1e-10)


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UsageError, match="vectors of 3 and of 4 numbers"):
        fid(drawn(5, 3, 0), drawn(5, 4, 0))
    with pytest.raises(UsageError, match="vectors of 3 and of 4 numbers"):
        kid(drawn(5, 3, 0), drawn(5, 4, 0))
    with pytest.raises(UsageError, match="the covariance of 1 images"):
        fid(drawn(1, 3, 0), drawn(5, 3, 0))


def line(*places: float) -> Vectors:
    return np.array(places)[:, None]


def test_radii_reach_to_the_kth_other_vector() -> None:
    assert np.sqrt(radii(line(0, 1, 3, 7), 1)).tolist() == [1, 1, 2, 4]
    assert np.sqrt(radii(line(0, 1, 3, 7), 3)).tolist() == [7, 6, 4, 7]


def test_a_generator_that_drops_half_of_the_modes_is_precise_and_recalls_half() -> None:
    left, right = drawn(50, 4, 0, shift=-100), drawn(50, 4, 1, shift=100)
    real = np.concatenate([left, right])
    assert precision_recall(real, left + 0.01) == (1, 0.5)
    _, coverage = density_coverage(real, left + 0.01)
    assert coverage == 0.5


def test_a_generator_with_extra_modes_recalls_all_and_is_half_precise() -> None:
    left, right = drawn(50, 4, 0, shift=-100), drawn(50, 4, 1, shift=100)
    assert precision_recall(left, np.concatenate([left + 0.01, right])) == (0.5, 1)


def test_an_outlier_among_the_real_images_raises_precision_but_hardly_density() -> None:
    # Naeem et al. 2020, figure 1: the outlier's huge ball holds all generated images.
    real = np.concatenate([drawn(50, 2, 0), line(0, 0).T + 60])
    generated = drawn(50, 2, 1, shift=30)
    precision, _ = precision_recall(real, generated)
    density, _ = density_coverage(real, generated)
    assert precision == 1
    assert density == pytest.approx(1 / 5)


def test_sets_of_one_distribution_get_the_values_of_the_closed_forms() -> None:
    # Naeem et al. 2020, section 3.4: the density's expectation is 1, and a real image is left
    # out when the k nearest of the n - 1 other real and m generated images are all real.
    n, m, k = 200, 120, 5
    expected = 1 - np.prod([(n - j) / (n + m - j) for j in range(1, k + 1)])
    found = [density_coverage(drawn(n, 3, s), drawn(m, 3, 900 + s), k) for s in range(40)]
    density, coverage = np.mean(found, axis=0)
    assert coverage == pytest.approx(expected, abs=0.01)
    assert density == pytest.approx(1, abs=0.05)


def test_precision_and_recall_equal_torch_fidelitys_over_several_tiles() -> None:
    real, generated = drawn(TILE + 90, 6, 0), drawn(2 * TILE + 3, 6, 1, shift=0.8)
    theirs = prc_features_to_metric(
        torch.from_numpy(generated),
        torch.from_numpy(real),
        prc_neighborhood=3,
        prc_batch_size=10_000,
        save_cpu_ram=False,
        verbose=False,
    )
    expected = theirs["precision"], theirs["recall"]
    assert precision_recall(real, generated) == pytest.approx(expected, abs=1e-6)


def test_density_and_coverage_equal_their_definitions_over_several_tiles() -> None:
    real, generated = drawn(TILE + 90, 6, 0), drawn(2 * TILE + 3, 6, 1, shift=0.8)
    reach = np.sort(cdist(real, real), axis=1)[:, 5]
    inside = cdist(real, generated) < reach[:, None]
    expected = inside.sum() / (5 * len(generated)), inside.any(axis=1).mean()
    assert density_coverage(real, generated) == pytest.approx(expected, abs=1e-12)


def test_float32_vectors_far_from_0_are_separated() -> None:
    real, generated = drawn(100, 8, 0), drawn(100, 8, 1)
    near = precision_recall(real, generated)
    far = precision_recall((real + 1000).astype(np.float32), (generated + 1000).astype(np.float32))
    assert far == pytest.approx(near, abs=0.02)


def test_too_few_images_or_other_features_are_refused() -> None:
    with pytest.raises(UsageError, match=r"3 images are too few for 3 neighbours"):
        precision_recall(drawn(3, 2, 0), drawn(9, 2, 0))
    with pytest.raises(UsageError, match="vectors of 2 and of 3 numbers"):
        density_coverage(drawn(9, 2, 0), drawn(9, 3, 0))
