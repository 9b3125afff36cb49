"""Real images: which ones, how prepared, and their cached statistics."""

import dataclasses
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity.metric_isc import isc_features_to_metric

from tests.evaluation.networks import network, save
from wgan.errors import DataError, ModelFileError, UsageError
from wgan.evaluation.features import FeatureBatch
from wgan.evaluation.generators import EvaluatedGenerator, choose_data, choose_transform
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.statistics import (
    BATCH_SIZE,
    MAX_FEATURES,
    feature_statistics,
    is_kept,
    load_reference,
    statistics_folder,
)
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
from wgan.training.data.shard_writer import write_shards
from wgan.training.preparation import Preparation


def generator(
    name: str,
    data: str | None = None,
    shape: tuple[int, int, int] = (32, 32, 3),
    **settings: object,
) -> EvaluatedGenerator:
    preparation = Preparation.from_settings(settings) if settings else None
    return EvaluatedGenerator(
        name, shape, 1, lambda seeds: iter(()), preparation=preparation, data=data
    )


def test_generators_of_different_data_need_a_named_reference() -> None:
    faces, cats = generator("runs/faces", "faces/"), generator("runs/cats", "cats/")
    export = generator("generator.onnx", None)
    with pytest.raises(UsageError, match="trained on different data, faces/ and cats/: give"):
        choose_data([export, faces, cats], None)
    assert choose_data([export, faces, faces], None) == "faces/"
    assert choose_data([faces, cats], "both/") == "both/"
    with pytest.raises(UsageError, match="does not say where its data is"):
        choose_data([export], None)
    with pytest.raises(UsageError, match="only that it is called 'faces': give --data"):
        choose_data([dataclasses.replace(export, data_name="faces")], None)


@pytest.fixture
def colour_features(tmp_path: Path) -> OnnxFeatures:
    return OnnxFeatures(save(network(shape=("n", 3, 32, 32)), tmp_path / "f.onnx"), "cpu")


def test_real_images_are_prepared_as_for_the_training(colour_features: OnnxFeatures) -> None:
    unknown = generator("elsewhere.onnx")
    plain = generator("plain", crop=0, background="white")
    cropped = generator("cropped", crop=20, background="#00ff00")
    assert choose_transform([unknown], colour_features) == Transform(size=32, channels=3)
    alike = generator("alike", background="#ffffff")
    assert choose_transform([plain, unknown, alike], colour_features) == Transform(
        size=32, channels=3
    )
    found = choose_transform([unknown, cropped, cropped], colour_features)
    assert found == Transform(size=32, channels=3, crop=20, background=(0, 255, 0))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"crop": 20}, "a was trained with --crop 0, b with --crop 20"),
        ({"background": "black"}, "a was trained with --background white, b with --background"),
        ({"shape": (32, 32, 1)}, "a generates images of 32x32x3, b of 32x32x1"),
        ({"shape": (64, 64, 3)}, "a generates images of 32x32x3, b of 64x64x3"),
    ],
)
def test_generators_with_different_preparation_are_refused(
    colour_features: OnnxFeatures, others: dict[str, Any], message: str
) -> None:
    one = generator("a", crop=0, background="white")
    with pytest.raises(UsageError, match=f"{message}.*: evaluate them one by one"):
        choose_transform([one, generator("b", **others)], colour_features)


def test_real_images_are_prepared_as_rectangles_and_fitted_as_in_training(
    colour_features: OnnxFeatures,
) -> None:
    wide = generator("wide", shape=(16, 32, 3), fit="pad")
    transform = choose_transform([wide], colour_features)
    assert (transform.shape, transform.fit) == ((16, 32, 3), "pad")


def test_alpha_is_measured_over_white(colour_features: OnnxFeatures) -> None:
    colours = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    opaque = np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=3)
    hidden = np.concatenate([colours, np.zeros_like(colours[..., :1])], axis=3)
    white = np.full_like(colours, 255)
    for with_alpha, expected in ((opaque, colours), (hidden, white)):
        found = colour_features(with_alpha).vectors
        assert np.array_equal(found, colour_features(expected).vectors)
    with pytest.raises(ModelFileError, match="takes images of 3 channels, these have 5"):
        choose_transform([generator("bands", shape=(32, 32, 5))], colour_features)


def test_features_that_do_not_take_the_images_are_reported_before_decoding(tmp_path: Path) -> None:
    grey = OnnxFeatures(save(network(), tmp_path / "grey.onnx"), "cpu")
    with pytest.raises(ModelFileError, match="takes images of 1 channels, these have 3"):
        choose_transform([generator("a")], grey)


def images(n: int = 150, seed: int = 0) -> InMemoryDataset:
    pixels = np.random.RandomState(seed).randint(0, 256, (n, 32, 32, 1)).astype(np.uint8)
    return InMemoryDataset.from_array(pixels)


class CountingFeatures:
    """Features that count their images."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self._features = OnnxFeatures(save(network(seed=seed, logits=3), path), "cpu")
        self.name, self.key, self.has_logits = "counting", self._features.key, True
        self.count = 0

    def __call__(self, pixels: Pixels) -> FeatureBatch:
        self.count += len(pixels)
        return self._features(pixels)


@pytest.fixture
def features(tmp_path: Path) -> CountingFeatures:
    return CountingFeatures(tmp_path / "features.onnx")


def test_statistics_are_those_of_all_images_at_once(features: CountingFeatures) -> None:
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


def test_memory_does_not_grow_with_the_number_of_images(features: CountingFeatures) -> None:
    def peak(n: int) -> int:
        blank = np.zeros((64, 32, 32, 1), np.uint8)
        tracemalloc.start()
        feature_statistics((blank for _ in range(n // 64)), n, features)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(64)
    kept = 4 * 6 * MAX_FEATURES  # bytes
    assert peak(64 * 600) < peak(64 * 20) + 3 * kept


def test_only_evenly_spaced_vectors_are_kept_of_many_images() -> None:
    count = 7 * MAX_FEATURES // 2
    kept = np.flatnonzero(is_kept(np.arange(count), count))
    assert len(kept) == MAX_FEATURES
    assert set(np.diff(kept)) == {3, 4}
    assert is_kept(np.arange(7), 7).all()


def test_a_part_of_the_data_is_evenly_spaced() -> None:
    found = np.concatenate(list(images(150).images(70, BATCH_SIZE)))
    places = np.arange(70) * 150 // 70
    assert np.array_equal(found, images(150).pixels[places])


def test_statistics_are_cached_by_data_features_and_count(
    tmp_path: Path, features: CountingFeatures
) -> None:
    folder = tmp_path / "statistics"
    first = load_reference(images(), features, folder=folder)
    assert features.count == 150
    again = load_reference(images(), features, folder=folder)
    assert features.count == 150
    assert np.array_equal(first.moments.covariance, again.moments.covariance)
    assert np.array_equal(first.vectors, again.vectors)
    load_reference(images(seed=1), features, folder=folder)
    load_reference(images(), features, 100, folder)
    assert features.count == 150 + 150 + 100
    others = CountingFeatures(tmp_path / "others.onnx", seed=1)
    load_reference(images(), others, folder=folder)
    assert others.count == 150
    assert len(list(folder.glob("*.npz"))) == 4


def test_statistics_are_cached_with_the_images_or_not_at_all(tmp_path: Path) -> None:
    assert statistics_folder(Cache(folder=tmp_path)) == tmp_path / "statistics"
    assert statistics_folder(None) is None


def test_damaged_statistics_are_computed_again(
    tmp_path: Path, features: CountingFeatures, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_reference(images(), features, folder=tmp_path)
    place = next(tmp_path.glob("*.npz"))
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 0xFF
    place.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        again = load_reference(images(), features, folder=tmp_path)
    assert "are damaged and will be computed again" in caplog.text
    assert np.array_equal(first.vectors, again.vectors)
    assert features.count == 300


def test_an_unwritable_cache_is_a_warning(
    tmp_path: Path, features: CountingFeatures, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        found = load_reference(images(), features, folder=tmp_path / "file")
    assert found.count == 150
    assert "the statistics of the data are not cached" in caplog.text


def test_too_little_data_is_refused(features: CountingFeatures) -> None:
    with pytest.raises(DataError, match="1 images have no statistics"):
        load_reference(images(1), features)


def test_shards_are_read_once(tmp_path: Path, features: CountingFeatures) -> None:
    (tmp_path / "images").mkdir()
    for k, pixels in enumerate(images(30).pixels):
        Image.fromarray(pixels[:, :, 0]).save(tmp_path / "images" / f"{k:03}.png")
    source = open_source(tmp_path / "images")
    shards = open_data(write_shards(source, tmp_path / "shards", shard_size=10).pattern)
    assert isinstance(shards, Shards)
    stream = StreamingDataset(shards, Transform(size=32, channels=1))
    found = load_reference(stream, features)
    expected = feature_statistics([images(30).pixels], 30, features)
    np.testing.assert_allclose(found.moments.mean, expected.moments.mean, atol=1e-6)
    np.testing.assert_allclose(found.moments.scatter, expected.moments.scatter, atol=1e-5)
