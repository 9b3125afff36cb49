"""Opening a feature network by the name that the user gives."""

import sys
from pathlib import Path

import pytest
import torch

from tests.evaluation.networks import network, save
from wgan.errors import MissingExtra
from wgan.evaluation.features import open_features, provider_for
from wgan.evaluation.onnx_features import OnnxFeatures


@pytest.mark.parametrize(
    ("named", "provider"),
    [("auto", "auto"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda"), ("mps", "auto")],
)
def test_onnx_runtime_uses_a_named_device_and_else_its_own_choice(
    named: str, provider: str
) -> None:
    assert provider_for(named) == provider


def test_a_gpu_for_pytorch_does_not_require_one_for_onnx_runtime(tmp_path: Path) -> None:
    path = save(network(), tmp_path / "features.onnx")
    features = open_features(str(path), torch.device("cuda"), provider=provider_for("auto"))
    assert isinstance(features, OnnxFeatures)


def test_a_missing_package_is_reported_before_missing_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(MissingExtra, match=r"torch_fidelity, .*pip install 'wgan\[eval\]'"):
        open_features("inception", torch.device("cpu"))
