"""Nearest neighbours, the check for memorised data."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.evaluation.networks import network, save
from wgan.evaluation.neighbours import GAP, NEAREST, find_neighbours
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.images import Pixels
from wgan.training.data import InMemoryDataset

SHAPE = (32, 32, 1)


def noise(n: int, seed: int) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, (n, *SHAPE)).astype(np.uint8)


@pytest.fixture
def features(tmp_path: Path) -> OnnxFeatures:
    return OnnxFeatures(save(network(width=16), tmp_path / "features.onnx"), "cpu")


def test_the_nearest_images_equal_those_of_a_full_search(features: OnnxFeatures) -> None:
    data, generated = InMemoryDataset(noise(200, 0), [], ""), noise(5, 1)
    found = find_neighbours(generated, data, 200, features)
    apart = cdist(features(generated).vectors, features(data.pixels).vectors)
    order = np.argsort(apart, axis=1)[:, :NEAREST]
    assert np.array_equal(found.pixels, data.pixels[order])
    expected = np.take_along_axis(apart, order, axis=1)
    assert found.distances == pytest.approx(expected, abs=1e-5)


def test_real_distances_are_measured_between_images_of_the_data(features: OnnxFeatures) -> None:
    data = InMemoryDataset(noise(50, 0), [], "")
    found = find_neighbours(noise(50, 1), data, 50, features)
    vectors = features(data.pixels).vectors
    nearest_other = np.sort(cdist(vectors, vectors), axis=1)[:, 1]
    assert found.real_distances == pytest.approx(nearest_other, abs=1e-5)
    assert 0.8 < found.ratio < 1.25


def test_a_generator_that_repeats_its_data_has_a_ratio_near_0(features: OnnxFeatures) -> None:
    data = InMemoryDataset(noise(200, 0), [], "")
    barely_changed = data.pixels[30:46] ^ np.uint8(1)
    found = find_neighbours(barely_changed, data, 200, features)
    assert np.array_equal(found.pixels[:, 0], data.pixels[30:46])
    assert found.ratio < 0.05


def test_the_sheet_has_a_row_for_each_generated_image(features: OnnxFeatures) -> None:
    found = find_neighbours(noise(3, 1), InMemoryDataset(noise(20, 0), [], ""), 20, features)
    sheet = found.sheet()
    assert sheet.shape == (2 * 3 * 32, 2 * (32 * (1 + NEAREST) + GAP), 1)
    assert np.array_equal(sheet[::2, ::2], sheet[1::2, 1::2])  # enlarged twice
    sheet = sheet[::2, ::2]
    assert np.array_equal(sheet[32:64, :32], found.generated[1])
    assert (sheet[:, 32 : 32 + GAP] == 255).all()
    assert np.array_equal(sheet[64:, 32 + GAP : 64 + GAP], found.pixels[2, 0])


def test_less_data_than_neighbours_shows_all_of_it(features: OnnxFeatures) -> None:
    found = find_neighbours(noise(4, 1), InMemoryDataset(noise(3, 0), [], ""), 3, features)
    assert found.pixels.shape[:2] == (4, 3)
    assert np.isfinite(found.distances).all()
