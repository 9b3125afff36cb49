"""From what the user names to features and real pictures."""

from pathlib import Path

import pytest
import torch

from tests.evaluation.networks import network, save
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.evaluation.opening import open_features, provider_for


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
