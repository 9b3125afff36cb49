"""`wgan directions` and `wgan project` on another project's file, with the options for it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.checkpoints import trained_checkpoint
from tests.runtime import models
from wgan.errors import UsageError
from wgan.images import to_pil
from wgan.latent_space import DirectionsConfig, ProjectConfig, find_directions, project
from wgan.model_file.foreign import ForeignOptions
from wgan.runtime import Generator

LATENT_DIM = 4
INPUTS = ("psi=1",)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file with its own names, a further input before the latents, and flat images in [0, 1]."""
    weight = np.random.RandomState(0).standard_normal((LATENT_DIM, 64)).astype(np.float32)
    weight *= np.array([4, 2, 1, 0.5], np.float32)[:, None] / 8
    nodes = [
        # A layer of the other input comes first.
        helper.make_node("MatMul", ["psi", "one"], ["strength"]),
        helper.make_node("MatMul", ["z", "w"], ["first"]),
        helper.make_node("Mul", ["first", "strength"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["y"]),
    ]
    made = models.make_model(
        nodes,
        {"w": weight, "one": np.ones((1, 1), np.float32)},
        [("psi", TensorProto.FLOAT, [1, 1]), ("z", TensorProto.FLOAT, ["n", LATENT_DIM])],
        [("y", TensorProto.FLOAT, ["n", 64])],
    )
    path = tmp_path / "theirs.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_directions_of_a_file_with_further_inputs(foreign: Path, tmp_path: Path) -> None:
    config = DirectionsConfig(
        model=str(foreign), out=tmp_path / "d.npy", count=1, inputs=INPUTS, image_shape=(8, 8, 1)
    )
    found = find_directions(config)
    assert abs(found.directions[0, 0]) > 0.9  # the number of the largest weights
    with pytest.raises(UsageError, match="only latents vary with the seed"):
        find_directions(DirectionsConfig(model=str(foreign), out=tmp_path / "d.npy", count=1))


def test_an_image_of_such_a_file_is_found(foreign: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"inputs": INPUTS, "image_shape": (8, 8, 1)}
    pixels = Generator(foreign, foreign=ForeignOptions(**options)).sample([123_456])[0]
    to_pil(pixels).save(tmp_path / "own.png")
    found = project(
        ProjectConfig(
            images=(tmp_path / "own.png",),
            output=tmp_path / "found.npy",
            model=str(foreign),
            evaluations=2000,
            **options,
        )
    )
    assert found.distances[0] < found.start_distances[0] / 5


def test_a_checkpoint_takes_no_options_of_exported_files(tmp_path: Path) -> None:
    trained_checkpoint().save(tmp_path / "own.pt")
    with pytest.raises(UsageError, match="--value-range is for exported files"):
        find_directions(
            DirectionsConfig(
                model=str(tmp_path / "own.pt"), out=tmp_path / "d.npy", value_range=(0, 1)
            )
        )
