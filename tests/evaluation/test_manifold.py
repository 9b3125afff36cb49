"""Precision, recall, density and coverage: constructed sets, closed forms, plain definitions."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch_fidelity.metric_prc import prc_features_to_metric

from wgan.errors import UsageError
from wgan.evaluation.features import Vectors
from wgan.evaluation.manifold import TILE, density_coverage, precision_recall, radii


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> Vectors:
    return shift + np.random.RandomState(seed).standard_normal((n, d))


def line(*places: float) -> Vectors:
    return np.array(places)[:, None]


def test_radii_reach_to_the_kth_other_vector() -> None:
    assert np.sqrt(radii(line(0, 1, 3, 7), 1)).tolist() == [1, 1, 2, 4]
    assert np.sqrt(radii(line(0, 1, 3, 7), 3)).tolist() == [7, 6, 4, 7]


def test_a_generator_that_drops_half_of_the_modes_is_precise_and_recalls_half() -> None:
    left, right = drawn(50, 4, 0, shift=-100), drawn(50, 4, 1, shift=100)
    real = np.concatenate([left, right])
    found = precision_recall(real, left + 0.01)
    assert (found.precision, found.recall) == (1, 0.5)
    assert density_coverage(real, left + 0.01).coverage == 0.5


def test_a_generator_with_extra_modes_recalls_all_and_is_half_precise() -> None:
    left, right = drawn(50, 4, 0, shift=-100), drawn(50, 4, 1, shift=100)
    found = precision_recall(left, np.concatenate([left + 0.01, right]))
    assert (found.precision, found.recall) == (0.5, 1)


def test_an_outlier_among_the_real_images_raises_precision_but_hardly_density() -> None:
    # Naeem et al. 2020, figure 1: the outlier's huge ball holds all generated images.
    real = np.concatenate([drawn(50, 2, 0), line(0, 0).T + 60])
    generated = drawn(50, 2, 1, shift=30)
    assert precision_recall(real, generated).precision == 1
    assert density_coverage(real, generated).density == pytest.approx(1 / 5)


def test_sets_of_one_distribution_get_the_values_of_the_closed_forms() -> None:
    # Naeem et al. 2020, section 3.4: the density's expectation is 1, and a real image is left
    # out when the k nearest of the n - 1 other real and m generated images are all real.
    n, m, k = 200, 120, 5
    expected = 1 - np.prod([(n - j) / (n + m - j) for j in range(1, k + 1)])
    found = [density_coverage(drawn(n, 3, s), drawn(m, 3, 900 + s), k) for s in range(40)]
    assert np.mean([each.coverage for each in found]) == pytest.approx(expected, abs=0.01)
    assert np.mean([each.density for each in found]) == pytest.approx(1, abs=0.05)


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
    found = precision_recall(real, generated)
    assert found.precision == pytest.approx(theirs["precision"], abs=1e-6)
    assert found.recall == pytest.approx(theirs["recall"], abs=1e-6)


def test_density_and_coverage_equal_their_definitions_over_several_tiles() -> None:
    real, generated = drawn(TILE + 90, 6, 0), drawn(2 * TILE + 3, 6, 1, shift=0.8)
    reach = np.sort(cdist(real, real), axis=1)[:, 5]
    inside = cdist(real, generated) < reach[:, None]
    found = density_coverage(real, generated)
    assert found.density == pytest.approx(inside.sum() / (5 * len(generated)), abs=1e-12)
    assert found.coverage == pytest.approx(inside.any(axis=1).mean(), abs=1e-12)


def test_float32_vectors_far_from_0_are_separated() -> None:
    real, generated = drawn(100, 8, 0), drawn(100, 8, 1)
    near = precision_recall(real, generated)
    far = precision_recall((real + 1000).astype(np.float32), (generated + 1000).astype(np.float32))
    assert far.precision == pytest.approx(near.precision, abs=0.02)
    assert far.recall == pytest.approx(near.recall, abs=0.02)


def test_too_few_images_or_other_features_are_refused() -> None:
    with pytest.raises(UsageError, match=r"3 images are too few for 3 neighbours"):
        precision_recall(drawn(3, 2, 0), drawn(9, 2, 0))
    with pytest.raises(UsageError, match="vectors of 2 and of 3 numbers"):
        density_coverage(drawn(9, 2, 0), drawn(9, 3, 0))
