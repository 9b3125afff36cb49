"""From what the user names to features and real images."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.evaluation.networks import network, save
from wgan.errors import MissingExtra, ModelFileError, UsageError
from wgan.evaluation.generators import EvaluatedGenerator
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.opening import choose_data, choose_transform, open_features, provider_for
from wgan.training.data import Transform


@pytest.mark.parametrize(
    ("named", "provider"),
    [("auto", "auto"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda"), ("mps", "auto")],
)
def test_onnx_runtime_is_held_to_a_device_that_was_named_alone(named: str, provider: str) -> None:
    assert provider_for(named) == provider


def test_a_gpu_of_pytorchs_asks_none_of_onnx_runtime(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "features.onnx")
    features = open_features(str(path), torch.device("cuda"), provider=provider_for("auto"))
    assert isinstance(features, OnnxFeatures)


def test_a_missing_package_is_told_before_missing_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(MissingExtra, match=r"torch_fidelity, .*pip install 'wgan\[eval\]'"):
        open_features("inception", torch.device("cpu"))


def candidate(
    name: str,
    data: str | None = None,
    shape: tuple[int, int, int] = (32, 32, 3),
    **settings: object,
) -> EvaluatedGenerator:
    return EvaluatedGenerator(name, shape, 1, settings, data, lambda seeds: iter(()))


def test_runs_of_different_data_are_not_silently_held_against_the_first_ones() -> None:
    faces, cats = candidate("runs/faces", "faces/"), candidate("runs/cats", "cats/")
    export = candidate("generator.onnx", None)
    with pytest.raises(UsageError, match="trained on different data, faces/ and cats/: give"):
        choose_data([export, faces, cats], None)
    assert choose_data([export, faces, faces], None) == "faces/"
    assert choose_data([faces, cats], "both/") == "both/"
    with pytest.raises(UsageError, match="does not say where its data is"):
        choose_data([export], None)
    with pytest.raises(UsageError, match="only that it is called 'faces': give --data"):
        choose_data([dataclasses.replace(export, settings={"data": "faces"})], None)


@pytest.fixture
def features(tmp_path: Path) -> OnnxFeatures:
    return OnnxFeatures(save(network(shape=("n", 3, 32, 32)), tmp_path / "f.onnx"), "cpu")


def test_real_images_are_prepared_as_the_candidates_learned_them(features: OnnxFeatures) -> None:
    unknown = candidate("elsewhere.onnx")
    plain = candidate("plain", crop=0, background="white")
    cropped = candidate("cropped", crop=20, background="#00ff00")
    assert choose_transform([unknown], features) == Transform(size=32, channels=3)
    alike = candidate("alike", background="#ffffff")
    assert choose_transform([plain, unknown, alike], features) == Transform(size=32, channels=3)
    found = choose_transform([unknown, cropped, cropped], features)
    assert found == Transform(size=32, channels=3, crop=20, background=(0, 255, 0))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"crop": 20}, "a was trained with --crop 0, b with --crop 20"),
        ({"background": "black"}, "a was trained with --background white, b with --background"),
        ({"shape": (32, 32, 1)}, "a draws images of 32x32x3, b of 32x32x1"),
        ({"shape": (64, 64, 3)}, "a draws images of 32x32x3, b of 64x64x3"),
    ],
)
def test_candidates_that_no_images_suit_are_named_with_what_differs(
    features: OnnxFeatures, others: dict[str, Any], said: str
) -> None:
    one = candidate("a", crop=0, background="white")
    with pytest.raises(UsageError, match=f"{said}.*: judge them one by one"):
        choose_transform([one, candidate("b", **others)], features)


def test_images_that_are_no_squares_are_refused(features: OnnxFeatures) -> None:
    with pytest.raises(UsageError, match="draws images of 32x16x3: squares alone"):
        choose_transform([candidate("wide", shape=(16, 32, 3))], features)


def test_features_that_do_not_take_the_images_are_told_before_any_is_decoded(
    tmp_path: Path,
) -> None:
    grey = OnnxFeatures(save(network(), tmp_path / "grey.onnx"), "cpu")
    with pytest.raises(ModelFileError, match="takes images of 1 channels, these have 3"):
        choose_transform([candidate("a")], grey)
