"""Feature networks from ONNX files: each form of input and output, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from tests.evaluation.networks import linear_map, network, save
from wgan.errors import ModelFileError
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.images import Pixels


def pixels(n: int = 5, size: int = 32, channels: int = 1, seed: int = 0) -> Pixels:
    shape = (n, size, size, channels)
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "shape", "value_range", "expected"),
    [
        (TensorProto.UINT8, ("n", 32, 32, 1), (-1, 1), lambda p: p.astype(float)),
        (TensorProto.FLOAT, ("n", 1, 32, 32), (-1, 1), lambda p: p / 127.5 - 1),
        (TensorProto.FLOAT, ("n", 1, 32, 32), (0, 1), lambda p: p / 255),
        (TensorProto.DOUBLE, ("n", 32, 32, 1), (0, 255), lambda p: p.astype(float)),
        (TensorProto.UINT8, ("n", 3, 32, 32), (-1, 1), lambda p: np.repeat(p, 3, axis=1)),
    ],
)
def test_each_form_of_input_gets_its_values(
    tmp_path: Path, kind: int, shape: Any, value_range: Any, expected: Any
) -> None:
    model = network(kind, shape)
    features = OnnxFeatures(save(model, tmp_path / "f.onnx"), "cpu", value_range=value_range)
    given = pixels()
    values = expected(given.transpose(0, 3, 1, 2)).reshape(5, -1)  # grey: no order of channels
    seen = features(given)
    assert seen.vectors == pytest.approx(values @ linear_map(model), abs=1e-3, rel=1e-4)
    assert seen.logits is None
    assert not features.has_logits


def test_logits_come_from_the_output_of_that_name(tmp_path: Path) -> None:
    model = network(TensorProto.UINT8, ("n", 32, 32, 3), logits=4, name="anything")
    features = OnnxFeatures(save(model, tmp_path / "f.onnx"), "cpu")
    seen = features(pixels(channels=3))
    values = pixels(channels=3).reshape(5, -1).astype(float)
    assert features.has_logits
    assert seen.vectors.shape == (5, 6)
    assert seen.logits == pytest.approx(values @ linear_map(model, "logits"), abs=1e-2)


@pytest.mark.parametrize("n", [1, 4, 5, 9])
def test_a_frozen_batch_size_changes_nothing(tmp_path: Path, n: int) -> None:
    free = OnnxFeatures(save(network(), tmp_path / "free.onnx"), "cpu")
    frozen = OnnxFeatures(save(network(shape=(4, 1, 32, 32)), tmp_path / "frozen.onnx"), "cpu")
    assert frozen(pixels(n)).vectors == pytest.approx(free(pixels(n)).vectors, abs=1e-5)


def test_images_of_another_size_are_resized(tmp_path: Path) -> None:
    features = OnnxFeatures(save(network(shape=("n", 1, 8, 8)), tmp_path / "f.onnx"), "cpu")
    whole = np.full((1, 32, 32, 1), 200, np.uint8)
    small = np.full((1, 8, 8, 1), 200, np.uint8)
    assert features(whole).vectors == pytest.approx(features(small).vectors, abs=1e-6)
    noise = pixels(1)
    image = Image.fromarray(noise[0, :, :, 0]).resize((8, 8), Image.Resampling.BICUBIC)
    resized = np.asarray(image)[None, :, :, None]
    assert features(noise).vectors == pytest.approx(features(resized).vectors, abs=1e-6)


def test_the_key_tells_networks_and_ranges_apart(tmp_path: Path) -> None:
    one = save(network(seed=0), tmp_path / "one.onnx")
    copy = save(network(seed=0), tmp_path / "copy.onnx")
    two = save(network(seed=1), tmp_path / "two.onnx")
    assert OnnxFeatures(one, "cpu").key == OnnxFeatures(copy, "cpu").key
    assert OnnxFeatures(one, "cpu").key != OnnxFeatures(two, "cpu").key
    assert OnnxFeatures(one, "cpu").key != OnnxFeatures(one, "cpu", value_range=(0, 1)).key


def test_what_is_no_feature_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no model file"):
        OnnxFeatures(tmp_path / "none.onnx")
    shapeless = save(network(shape=("n", 5, 32, 32)), tmp_path / "f.onnx")
    with pytest.raises(ModelFileError, match=r"f\.onnx cannot be used: expected one input"):
        OnnxFeatures(shapeless, "cpu")
    unnamed = save(network(name="logits"), tmp_path / "logits.onnx")
    with pytest.raises(ModelFileError, match="expected a float output of vectors"):
        OnnxFeatures(unnamed, "cpu")


def test_names_that_are_not_text_are_refused(tmp_path: Path) -> None:
    content = network().SerializeToString().replace(b"image", b"im\xffge")
    (tmp_path / "f.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"f\.onnx cannot be used: the names .* not text"):
        OnnxFeatures(tmp_path / "f.onnx", "cpu")


def test_colour_is_not_given_to_a_grey_network(tmp_path: Path) -> None:
    features = OnnxFeatures(save(network(), tmp_path / "f.onnx"), "cpu")
    with pytest.raises(ModelFileError, match="takes images of 1 channels, these have 3"):
        features(pixels(channels=3))


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = network()
    spoilt = linear_map(model).copy()
    spoilt[0, 0] = np.nan
    named = {each.name: each for each in model.graph.initializer}
    named["features_map"].raw_data = spoilt.tobytes()
    features = OnnxFeatures(save(model, tmp_path / "f.onnx"), "cpu")
    with pytest.raises(ModelFileError, match="not finite"):
        features(pixels())
