"""From what the user names to features and real pictures."""

import sys
from pathlib import Path

import pytest
import torch

from tests.evaluation.networks import network, save
from wgan.errors import MissingExtra, UsageError
from wgan.evaluation.candidates import Candidate
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.opening import choose_data, open_features, provider_for


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


def candidate(name: str, data: str | None) -> Candidate:
    return Candidate(name, (32, 32, 3), 1, {}, data, lambda seeds: iter(()))


def test_runs_of_different_data_are_not_silently_held_against_the_first_ones() -> None:
    faces, cats = candidate("runs/faces", "faces/"), candidate("runs/cats", "cats/")
    export = candidate("generator.onnx", None)
    with pytest.raises(UsageError, match="trained on different data, faces/ and cats/: give"):
        choose_data([export, faces, cats], None)
    assert choose_data([export, faces, faces], None) == "faces/"
    assert choose_data([faces, cats], "both/") == "both/"
    with pytest.raises(UsageError, match="does not say where its data is"):
        choose_data([export], None)
