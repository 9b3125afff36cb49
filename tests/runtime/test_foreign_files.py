"""Files of other projects in the runtime: weights beside them, and random numbers inside."""

import logging
from pathlib import Path

import onnx
import pytest
from onnx import helper

from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.model_file.manifest import METADATA_KEY
from wgan.runtime import Generator


def foreign() -> onnx.ModelProto:
    model = models.generator()
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    with Generator(foreign().SerializeToString()) as generator:
        expected = generator.sample(2)
    path = tmp_path / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    with Generator(path) as generator:
        assert (generator.sample(2) == expected).all()
    with pytest.raises(ModelFileError, match=r"onnx.save\(onnx.load"):
        Generator(path.read_bytes())


@pytest.mark.parametrize("location", ["../f.data", "absolute", "link", "missing"])
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    (folder / "f.data").rename(tmp_path / "f.data")
    (folder / "link").symlink_to(tmp_path / "f.data")
    model = onnx.load(path, load_external_data=False)
    named = str(tmp_path / "f.data") if location == "absolute" else location
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = named
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"own folder|not beside it"):
        Generator(path)


def test_a_file_that_draws_random_numbers_is_refused_unless_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = foreign()
    tanh = next(entry for entry in model.graph.node if entry.op_type == "Tanh")
    noise = helper.make_node("RandomNormalLike", [tanh.input[0]], ["noise"])
    add = helper.make_node("Add", [tanh.input[0], "noise"], ["noisy"])
    nodes = list(model.graph.node)
    index = nodes.index(tanh)
    tanh.input[0] = "noisy"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:index], noise, add, *nodes[index:]])
    data = model.SerializeToString()
    with pytest.raises(ModelFileError, match=r"random numbers itself \(RandomNormalLike\)"):
        Generator(data)
    with caplog.at_level(logging.WARNING), Generator(data, allow_random=True) as generator:
        assert generator.sample(2).shape == (2, 8, 8, 3)
    assert "depends on more than its seed" in caplog.text
