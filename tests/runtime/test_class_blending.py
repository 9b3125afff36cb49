"""Images between classes: class weights, and paths whose class changes evenly."""

import itertools
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.export.foreign.networks import foreign as network
from tests.runtime import models
from tests.runtime.test_foreign_files import LATENTS, TABLE, labelled, one_hot
from wgan.errors import UsageError
from wgan.latents import latents_from_seeds
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.onnx_scan import scan
from wgan.runtime import Generator, sample
from wgan.runtime.config import SampleConfig
from wgan.runtime.labels import Labelling
from wgan.runtime.latent_sources import InterpolatedLatents

WEIGHTS = np.array([[0.5, 0, 0, 0, 0.5], [0, 1, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2]], np.float32)


def with_rows(model: onnx.ModelProto, rows: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """The model with another table of classes."""
    (table,) = (each for each in model.graph.initializer if each.name == "table")
    table.CopyFrom(numpy_helper.from_array(rows, "table"))
    return model


def blended(weights: npt.NDArray[np.float32]) -> onnx.ModelProto:
    """`models.conditional`, whose class k is the mixture `weights[k]`."""
    model = models.conditional()
    (table,) = (each for each in model.graph.initializer if each.name == "table")
    rows = numpy_helper.to_array(table)
    mixed = (weights @ rows).astype(np.float32)
    return with_rows(model, np.concatenate([mixed, rows[len(mixed) :]]))


def test_class_weights_blend_rows(conditional: Generator) -> None:
    latents = latents_from_seeds(range(3), 4)
    expected = Generator(models.sealed(blended(WEIGHTS))).run(latents, np.arange(3))
    found = conditional.run(latents, WEIGHTS)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    assert np.abs(found[1].astype(int) - expected[1]).max() <= 1
    again = pickle.loads(pickle.dumps(conditional))
    np.testing.assert_array_equal(again.images(latents, WEIGHTS), found[0])


def test_whole_weights_are_the_classes_to_the_bit(conditional: Generator) -> None:
    latents, labels = latents_from_seeds(range(5), 4), np.array([4, 0, 3, 2, 1])
    whole = np.eye(5, dtype=np.float64)[labels]
    np.testing.assert_array_equal(
        conditional.images(latents, whole.astype(np.float32)), conditional.images(latents, labels)
    )


@pytest.mark.parametrize(
    "weights",
    [WEIGHTS[:2], WEIGHTS[:, :4], -WEIGHTS, WEIGHTS * 2, WEIGHTS * np.nan, np.zeros((3, 5))],
    ids=["too few", "four classes", "negative", "sum of 2", "not a number", "nothing"],
)
def test_other_numbers_are_no_class_weights(
    conditional: Generator, weights: npt.NDArray[np.float32]
) -> None:
    with pytest.raises(UsageError, match=r"need numbers from 0 to 1 \[3, 5\]"):
        conditional.images(latents_from_seeds(range(3), 4), weights)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_path_goes_from_class_to_class(conditional: Generator, batch_size: int) -> None:
    path = conditional.interpolate([5, 6], 8, batch_size, labels=["dog", 4])
    ends = conditional.sample([5, 6], labels=["dog", 4])
    np.testing.assert_array_equal(path[[0, 4]], ends)
    source = InterpolatedLatents(1.0, [5, 6], 4, 8)
    weights = np.array([[0, 0.75, 0, 0, 0.25], [0, 0.25, 0, 0, 0.75]], np.float32)
    between = conditional.pixels(source.latents([1, 7]), weights[[0, 0]])
    np.testing.assert_array_equal(path[[1, 7]], between)
    np.testing.assert_array_equal(path[3], conditional.pixels(source.latents([3]), weights[[1]])[0])


def test_labels_of_a_path_are_those_of_the_larger_weight() -> None:
    labelling = Labelling(models.CLASSES, (3, 0))
    path = InterpolatedLatents(1.0, [8, 4], 4, 8, labelling=labelling, blends_classes=True)
    assert path.labels(range(8)).tolist() == [3, 3, 0, 0, 0, 0, 0, 3]  # type: ignore[union-attr]
    assert path.name(2) == "00000002-cat"


def test_a_path_within_a_class_does_not_change_it() -> None:
    labelling = Labelling(models.CLASSES, (3, 3))
    assert not InterpolatedLatents(1.0, [8, 4], 4, 8, labelling=labelling).changes_class


def test_a_frozen_batch_blends_too(conditional: Generator) -> None:
    model = models.conditional()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    frozen = Generator(models.sealed(model))
    labels = ["cat", "dog", "7"]
    np.testing.assert_array_equal(
        frozen.interpolate([1, 2, 3], 9, labels=labels),
        conditional.interpolate([1, 2, 3], 9, labels=labels),
    )


def test_foreign_files_blend_tables_and_one_hot_labels() -> None:
    weights = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.1, 0.9]] * 2 + [[0, 1, 0, 0]], np.float32)
    named, hot = ForeignOptions(label_input="y"), ForeignOptions(label_input="c")
    mixed = with_rows(labelled(), (weights @ TABLE["table"]).astype(np.float32))
    with Generator(mixed.SerializeToString(), foreign=named) as generator:
        expected = generator.images(LATENTS, np.arange(5))
    for model, options in ((labelled(), named), (one_hot(), hot)):
        with Generator(model.SerializeToString(), foreign=options) as generator:
            np.testing.assert_allclose(generator.images(LATENTS, weights), expected, atol=1e-6)


def several_tables(*, more: bool) -> bytes:
    """A generator that looks its label up in float16 and float32; with `more` it counts too."""
    nodes = [
        helper.make_node("Gather", ["table", "y"], ["factor"]),
        helper.make_node("Gather", ["half", "y"], ["half_term"]),
        helper.make_node("Cast", ["half_term"], ["term"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["z", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "term"], ["sum" if more else "flat"]),
    ]
    if more:
        nodes += [
            helper.make_node("Cast", ["y"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["number", "axis"], ["column"]),
            helper.make_node("Add", ["sum", "column"], ["flat"]),
        ]
    constants: dict[str, npt.NDArray[Any]] = {
        **TABLE, "half": TABLE["table"].astype(np.float16), "axis": np.array([1])
    }  # fmt: skip
    model = network(
        before=nodes, more_inputs=[("y", TensorProto.INT64, ["n"])], constants=constants
    )
    return bytes(model.SerializeToString())


def test_every_table_is_blended() -> None:
    options = ForeignOptions(label_input="y")
    with Generator(several_tables(more=False), foreign=options) as generator:
        path = generator.interpolate([3, 3], 8, labels=[0, 3])
        np.testing.assert_array_equal(path[[0, 4]], generator.sample([3, 3], labels=[0, 3]))
        assert all((a != b).any() for a, b in itertools.pairwise(path))


def test_the_installed_generator_draws_between_its_classes() -> None:
    with Generator("builtin") as generator:
        path = generator.interpolate([3, 3, 8], 12, labels=["trouser", "sneaker", 8])
        anchors = generator.sample([3, 3, 8], labels=["trouser", "sneaker", 8])
    np.testing.assert_array_equal(path[[0, 4, 8]], anchors)
    steps = np.abs(np.diff(path[:5].astype(int), axis=0)).mean(axis=(1, 2, 3))
    whole = np.abs(anchors[1].astype(int) - anchors[0]).mean()
    assert steps.min() > 0
    assert steps.max() < 0.8 * whole  # no frame takes the whole way


def with_label(*nodes: onnx.NodeProto, **constants: npt.NDArray[Any]) -> bytes:
    """A generator whose label `y` goes through `nodes` into `flat`."""
    label = ("y", TensorProto.INT64, ["n"])
    return bytes(
        network(
            before=nodes, more_inputs=[label], constants={**TABLE, **constants}
        ).SerializeToString()
    )


LOOK_UP = helper.make_node("Gather", ["table", "y"], ["row"])

NOT_BLENDED = {
    "adds the number of the class": several_tables(more=True),
    "multiplies by the number of the class": with_label(
        LOOK_UP,
        helper.make_node("Mul", ["z", "row"], ["scaled"]),
        helper.make_node("Cast", ["y"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["number", "axis"], ["column"]),
        helper.make_node("Mul", ["scaled", "column"], ["flat"]),
        axis=np.array([1]),
    ),
    "uses the whole table": with_label(
        LOOK_UP,
        helper.make_node("ReduceMean", ["table", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["row", "mean"], ["centred"]),
        helper.make_node("Mul", ["z", "centred"], ["flat"]),
        axis=np.array([0]),
    ),
    "chooses a column": with_label(
        helper.make_node("Gather", ["columns", "y"], ["chosen"], axis=1),
        helper.make_node("Transpose", ["chosen"], ["row"], perm=[1, 0]),
        helper.make_node("Mul", ["z", "row"], ["flat"]),
        columns=TABLE["table"].T.copy(),
    ),
    "compares the label": with_label(
        helper.make_node("Unsqueeze", ["y", "axis"], ["column"]),
        helper.make_node("Equal", ["column", "numbers"], ["is_class"]),
        helper.make_node("Cast", ["is_class"], ["hot"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["hot", "table"], ["row"]),
        helper.make_node("Mul", ["z", "row"], ["flat"]),
        axis=np.array([1]),
        numbers=np.arange(4),
    ),
}


def listed_as_inputs() -> bytes:
    """A generator whose weights are inputs too, as older exporters write it."""
    model = labelled()
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    return bytes(model.SerializeToString())


def arg_max() -> bytes:
    """A generator that takes one-hot labels and looks for the one."""
    nodes = [
        helper.make_node("ArgMax", ["c"], ["y"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "y"], ["row"]),
        helper.make_node("Mul", ["z", "row"], ["flat"]),
    ]
    hot = ("c", TensorProto.FLOAT, ["n", 4])
    return bytes(network(before=nodes, more_inputs=[hot], constants=TABLE).SerializeToString())


@pytest.mark.parametrize(
    ("data", "name"),
    [
        *((data, "y:4") for data in NOT_BLENDED.values()),
        (listed_as_inputs(), "y"),
        (arg_max(), "c"),
    ],
    ids=[*NOT_BLENDED, "weights are inputs", "one-hot, of which the largest counts"],
)
def test_a_graph_that_does_more_with_a_label_changes_in_steps(
    data: bytes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Generator(data, foreign=ForeignOptions(label_input=name)) as generator:
        with pytest.raises(UsageError, match="cannot blend classes"):
            generator.images(LATENTS[:1], np.array([[0.5, 0.5, 0, 0]], np.float32))
        with caplog.at_level(logging.WARNING):
            path = generator.interpolate([3, 3], 4, labels=[0, 3])
        np.testing.assert_array_equal(path, generator.sample([3] * 4, labels=[0, 0, 3, 3]))
    assert caplog.text.count("the class changes in steps") == 1


def test_an_image_between_classes_must_not_depend_on_its_batch() -> None:
    # With both classes in a batch the mean is the graph's own.
    data = with_label(
        helper.make_node("Gather", ["two", "y"], ["row"]),
        helper.make_node("ReduceMean", ["two", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["row", "mean"], ["centred"]),
        helper.make_node("Mul", ["z", "centred"], ["flat"]),
        axis=np.array([0]),
        two=TABLE["table"][:2],
    )
    with (
        Generator(data, foreign=ForeignOptions(label_input="y")) as generator,
        pytest.raises(UsageError, match="cannot blend classes"),
    ):
        generator.images(LATENTS[:1], np.array([[0.5, 0.5]], np.float32))


def test_columns_that_a_label_chooses_are_no_classes() -> None:
    assert scan(NOT_BLENDED["chooses a column"]).embeddings == {}
    assert scan(with_label(LOOK_UP)).embeddings == {"y": 4}


def test_a_closed_generator_blends_nothing(conditional_file: Path) -> None:
    for opened_before in (False, True):
        generator = Generator(conditional_file)
        if opened_before:
            generator.interpolate([1, 2], 4, labels=[0, 1])
        generator.close()
        with pytest.raises(UsageError, match="is closed"):
            generator.images(latents_from_seeds(range(3), 4), WEIGHTS)


def test_the_command_writes_what_lies_between(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    given = {"model": str(conditional_file), "interpolate": "0,0", "labels": ("cat", "7")}
    sample(SampleConfig(out=str(tmp_path / "a.npy"), frames=6, **given))  # type: ignore[arg-type]
    expected = conditional.interpolate([0, 0], 6, labels=["cat", "7"])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
    assert (expected[1] != expected[0]).any()
    folder = tmp_path / "frames"
    sample(SampleConfig(out=f"{folder}/", frames=6, **given))  # type: ignore[arg-type]
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names[:3] == ["00000000-cat.png", "00000001-cat.png", "00000002-7.png"]
