"""The data's summary: right, and kept by the hash of what it depends on."""

import logging
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.metric_isc import isc_features_to_metric

from tests.evaluation.networks import network, save
from wgan.errors import DataError
from wgan.evaluation import feature_statistics
from wgan.evaluation.feature_statistics import is_kept, summarise
from wgan.evaluation.features import Seen
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.reference_statistics import images_of, load_reference, statistics_folder
from wgan.images import Pixels
from wgan.training.data import (
    Cache,
    InMemoryDataset,
    Shards,
    StreamingDataset,
    Transform,
    open_data,
    open_source,
)
from wgan.training.data.dataset import pixels_sha256
from wgan.training.data.streaming.prepare import write_shards


def images(n: int = 150, seed: int = 0) -> InMemoryDataset:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, 32, 32, 1)).astype(np.uint8)
    return InMemoryDataset(pixels, [], pixels_sha256(pixels))


class Counted:
    """Features that count how many images they looked at."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self._features = OnnxFeatures(save(network(seed=seed, logits=3), path), "cpu")
        self.name, self.key, self.has_logits = "counted", self._features.key, True
        self.looked_at = 0

    def __call__(self, pixels: Pixels) -> Seen:
        self.looked_at += len(pixels)
        return self._features(pixels)


@pytest.fixture
def features(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "features.onnx")


def test_a_summary_is_that_of_all_images_at_once(features: Counted) -> None:
    data = images()
    found = load_reference(data, features)
    whole = features(data.pixels)
    np.testing.assert_allclose(found.moments.mean, whole.vectors.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        found.moments.covariance, np.cov(whole.vectors, rowvar=False), atol=1e-6
    )
    assert np.abs(found.vectors - whole.vectors).max() < 1e-6
    assert whole.logits is not None
    assert found.score is not None
    theirs = isc_features_to_metric(torch.from_numpy(whole.logits), splits=10, shuffle=False)
    assert found.score == pytest.approx(theirs["inception_score_mean"], abs=1e-6)


def test_memory_does_not_grow_with_the_number_of_images(features: Counted) -> None:
    def peak(n: int) -> int:
        blank = np.zeros((64, 32, 32, 1), np.uint8)
        tracemalloc.start()
        summarise((blank for _ in range(n // 64)), n, features)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(64)
    kept = 4 * 6 * feature_statistics.KEPT  # bytes
    assert peak(64 * 600) < peak(64 * 20) + 3 * kept


def test_only_evenly_spaced_vectors_are_kept_of_many_images() -> None:
    count = 7 * feature_statistics.KEPT // 2
    kept = np.flatnonzero(is_kept(np.arange(count), count))
    assert len(kept) == feature_statistics.KEPT
    assert set(np.diff(kept)) == {3, 4}
    assert is_kept(np.arange(7), 7).all()


def test_part_of_the_data_is_taken_from_all_over_it() -> None:
    found = np.concatenate(list(images_of(images(150), 70)))
    places = np.arange(70) * 150 // 70
    assert np.array_equal(found, images(150).pixels[places])


def test_statistics_are_kept_by_data_features_and_count(tmp_path: Path, features: Counted) -> None:
    folder = tmp_path / "statistics"
    first = load_reference(images(), features, folder=folder)
    assert features.looked_at == 150
    again = load_reference(images(), features, folder=folder)
    assert features.looked_at == 150
    assert np.array_equal(first.moments.covariance, again.moments.covariance)
    assert np.array_equal(first.vectors, again.vectors)
    load_reference(images(seed=1), features, folder=folder)
    load_reference(images(), features, 100, folder)
    assert features.looked_at == 150 + 150 + 100
    others = Counted(tmp_path / "others.onnx", seed=1)
    load_reference(images(), others, folder=folder)
    assert others.looked_at == 150
    assert len(list(folder.glob("*.npz"))) == 4


def test_statistics_are_kept_where_the_images_are_or_not_at_all(tmp_path: Path) -> None:
    assert statistics_folder(Cache(folder=tmp_path)) == tmp_path / "statistics"
    assert statistics_folder(None) is None


def test_damaged_statistics_are_made_anew(
    tmp_path: Path, features: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_reference(images(), features, folder=tmp_path)
    place = next(tmp_path.glob("*.npz"))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 0xFF
    place.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = load_reference(images(), features, folder=tmp_path)
    assert "are damaged and are made anew" in caplog.text
    assert np.array_equal(first.vectors, again.vectors)
    assert features.looked_at == 300


def test_a_folder_that_cannot_be_written_is_named_and_done_without(
    tmp_path: Path, features: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        found = load_reference(images(), features, folder=tmp_path / "file")
    assert found.count == 150
    assert "the data's statistics are not kept" in caplog.text


def test_too_little_data_is_refused(features: Counted) -> None:
    with pytest.raises(DataError, match="1 images have no statistics"):
        load_reference(images(1), features)


def test_shards_are_looked_at_once_through(tmp_path: Path, features: Counted) -> None:
    (tmp_path / "images").mkdir()
    for k, pixels in enumerate(images(30).pixels):
        Image.fromarray(pixels[:, :, 0]).save(tmp_path / "images" / f"{k:03}.png")
    source = open_source(tmp_path / "images")
    shards = open_data(write_shards(source, tmp_path / "shards", shard_size=10).pattern)
    assert isinstance(shards, Shards)
    stream = StreamingDataset(shards, Transform(size=32, channels=1))
    found = load_reference(stream, features)
    expected = summarise([images(30).pixels], 30, features)
    np.testing.assert_allclose(found.moments.mean, expected.moments.mean, atol=1e-6)
    np.testing.assert_allclose(found.moments.scatter, expected.moments.scatter, atol=1e-5)
