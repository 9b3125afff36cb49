"""Generators with classes: labels by name and index, without a label, in batches and on paths."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.runtime import models
from wgan.errors import ModelFileError, UsageError
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator
from wgan.runtime.labels import Labelling, find_label, make_labelling, parse_labels
from wgan.runtime.latent_sources import InterpolatedLatents, MovedLatents, RowLatents, SeedLatents

CLASSES = models.CLASSES
N = len(CLASSES)


def expected(seeds: list[int], labels: list[int]) -> npt.NDArray[np.uint8]:
    """Pixels of the model with classes, by NumPy and the model without."""
    weights = models.weights()
    model = models.conditional()
    (table,) = (each for each in model.graph.initializer if each.name == "table")
    shift = numpy_helper.to_array(table)[labels]
    # The embedding is added where the plain model adds its first bias.
    rows = []
    for seed, row in zip(seeds, shift, strict=True):
        plain = models.generator()
        (bias,) = (each for each in plain.graph.initializer if each.name == "b1")
        bias.CopyFrom(numpy_helper.from_array(weights["b1"] + row, "b1"))
        rows.append(Generator(models.sealed(plain)).sample([seed])[0])
    return np.stack(rows)


def test_a_label_chooses_the_class(conditional: Generator) -> None:
    assert conditional.classes == CLASSES
    found = conditional.sample([3, 3, 9], labels=["dog", 0, 4])
    difference = np.abs(found.astype(int) - expected([3, 3, 9], [1, 0, 4]))
    assert difference.max() <= 1
    assert (found[0] != found[1]).any()


def test_without_a_label_a_seed_has_its_remainder(conditional: Generator) -> None:
    seeds = [0, 1, 6, 2**32 - 1]
    labels = [0, 1, 1, (2**32 - 1) % N]
    np.testing.assert_array_equal(
        conditional.sample(seeds), conditional.sample(seeds, labels=labels)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_an_image_does_not_depend_on_its_batch(conditional: Generator, batch_size: int) -> None:
    found = conditional.sample(20, batch_size, labels="dog")
    single = np.concatenate([conditional.sample([seed], labels=1) for seed in range(20)])
    np.testing.assert_array_equal(found, single)
    parts = list(conditional.stream(20, batch_size, labels="dog"))
    np.testing.assert_array_equal(np.concatenate(parts), found)


def test_a_frozen_batch_takes_labels_too(conditional: Generator) -> None:
    model = models.conditional()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    frozen = Generator(models.sealed(model))
    labels = [0, 4, 1, 3, 2]
    np.testing.assert_array_equal(
        frozen.sample(5, labels=labels), conditional.sample(5, labels=labels)
    )


def test_latents_need_labels(conditional: Generator, generator: Generator) -> None:
    latents = latents_from_seeds(range(3), 4)
    both = conditional.run(latents, np.array([4, 0, 1]))
    np.testing.assert_array_equal(both[1], conditional.sample(3, labels=[4, 0, 1]))
    np.testing.assert_array_equal(both[0], conditional.images(latents, np.array([4, 0, 1])))
    with pytest.raises(UsageError, match="5 classes and takes labels"):
        conditional.pixels(latents)
    for wrong in (np.array([0, 1]), np.array([0.0, 1.0, 2.0]), np.array([[0, 1, 2]])):
        with pytest.raises(UsageError, match=r"3 latents need integers \[3\]"):
            conditional.pixels(latents, wrong)
    for wrong in (np.array([0, 1, 5]), np.array([0, -1, 0])):
        with pytest.raises(UsageError, match="the classes 0 to 4"):
            conditional.pixels(latents, wrong)
    with pytest.raises(UsageError, match="this generator has no classes"):
        generator.pixels(latents, np.array([0, 0, 0]))


@pytest.mark.parametrize(
    ("label", "found"),
    [("cat", 0), (2, 2), ("2", 2), ("7", 4), ("Große Eule", 2), (np.int64(1), 1)],
)
def test_a_text_is_a_name_or_else_an_index(label: int | str, found: int) -> None:
    assert find_label(label, CLASSES) == found


@pytest.mark.parametrize("label", ["dgo", 5, -1, "5", "", True, "9" * 400])
def test_an_unknown_class_is_named_with_those_that_exist(label: int | str) -> None:
    with pytest.raises(UsageError, match=r"is not a class of this model: give 0 to 4.* 'dog'"):
        find_label(label, CLASSES)


def test_a_misspelt_class_is_suggested_and_long_lists_are_cut() -> None:
    with pytest.raises(UsageError, match="Did you mean dog"):
        find_label("dgo", CLASSES)
    with pytest.raises(UsageError, match="'class11', and 988 more"):
        find_label("x", [f"class{number}" for number in range(1000)])
    with pytest.raises(UsageError, match="no classes: leave out the label"):
        find_label(0, ())


def test_labels_are_one_for_all_or_one_each() -> None:
    assert make_labelling((), None, 7) is None
    assert make_labelling(CLASSES, None, 7) == Labelling(CLASSES)
    assert make_labelling(CLASSES, "dog", 7) == Labelling(CLASSES, (1,))
    assert make_labelling(CLASSES, [0, "cat", "7"], 3) == Labelling(CLASSES, (0, 0, 4))
    with pytest.raises(UsageError, match="2 labels are given for 3 images"):
        make_labelling(CLASSES, [0, 1], 3)
    with pytest.raises(UsageError, match="no classes"):
        make_labelling((), "dog", 3)
    assert parse_labels("cat, 0,7") == ("cat", "0", "7")
    with pytest.raises(UsageError, match="write names or indices"):
        parse_labels("cat,,7")


def test_names_of_files_have_the_class() -> None:
    source = SeedLatents(1.0, [8, 8, 8, 8, 8], 4, labelling=Labelling(CLASSES, (0, 1, 2, 3, 4)))
    names = [source.name(position) for position in range(5)]
    assert names == [
        "00000008-cat",
        "00000008-dog",
        "00000008-Groe_Eule",
        "00000008-dog_2",
        "00000008-7",
    ]
    twins = ("Cat", "cat", "...", "日本", "a/b", "a.b")
    labelling = Labelling(twins)
    names = [labelling.file_name(label) for label in range(6)]
    assert names == ["Cat-0", "cat-1", "-2", "-3", "a_b-4", "a_b-5"]
    labelling = Labelling(("a", "A", "a-0"))  # the first two with an index, without the last
    assert [labelling.file_name(label) for label in range(3)] == ["a-0", "A-1", "a-0-2"]
    assert SeedLatents(1.0, [8], 4).name(0) == "00000008"


def test_a_path_keeps_the_label_of_its_first_seed_or_changes_at_its_seeds() -> None:
    def labels(labelling: Labelling) -> list[int]:
        path = InterpolatedLatents(1.0, [8, 4, 0], 4, 6, labelling=labelling)
        found = path.labels(range(6))
        assert found is not None
        return [int(label) for label in found]

    assert labels(Labelling(CLASSES)) == [8 % N] * 6
    assert labels(Labelling(CLASSES, (1,))) == [1] * 6
    assert labels(Labelling(CLASSES, (3, 0, 2))) == [3, 3, 0, 0, 2, 2]


def test_a_path_draws_its_labels(conditional: Generator) -> None:
    frames = conditional.interpolate([5, 6], 4, labels=["dog", 4])
    np.testing.assert_array_equal(frames[[0]], conditional.sample([5], labels="dog"))
    np.testing.assert_array_equal(frames[[2]], conditional.sample([6], labels=4))
    with pytest.raises(UsageError, match="3 labels are given for 2 seeds"):
        conditional.interpolate([5, 6], 4, labels=[0, 1, 2])


def test_rows_and_moved_images_have_the_labels_of_their_base() -> None:
    rows = np.zeros((7, 4), np.float32)
    base = RowLatents(1.0, rows, labelling=Labelling(CLASSES))
    assert base.labels([0, 6]).tolist() == [0, 1]  # type: ignore[union-attr]
    moved = MovedLatents.along(base, np.ones(4, np.float32), -1, 1, 3)
    found = moved.labels(range(21))
    assert found is not None
    assert found.tolist() == [row % N for row in range(7) for _ in range(3)]
    assert moved.name(4) == "00000004-dog"


def test_each_class_has_a_row() -> None:
    source = SeedLatents.by_class(1.0, range(3), 4, Labelling(CLASSES, (4, 1)))
    assert source.grid_shape == (2, 3)
    assert [source.key(position) for position in range(6)] == [0, 1, 2, 0, 1, 2]
    labels = source.labels(range(6))
    assert labels is not None
    assert labels.tolist() == [4, 4, 4, 1, 1, 1]
    every = SeedLatents.by_class(1.0, [9], 4, Labelling(CLASSES))
    with pytest.raises(UsageError, match=r"100,000,000 images of each of .* more than 10,000,000"):
        SeedLatents.by_class(1.0, range(10**8), 4, Labelling(CLASSES))
    assert every.labels(range(N)).tolist() == list(range(N))  # type: ignore[union-attr]


def test_part_of_the_seeds_keeps_their_labels() -> None:
    source = SeedLatents(1.0, range(6), 4, labelling=Labelling(CLASSES, (0, 1, 2, 3, 4, 0)))
    part = source.part(2, 5)
    assert part.labels(range(3)).tolist() == [2, 3, 4]  # type: ignore[union-attr]
    assert list(part.seeds) == [2, 3, 4]


def graph_with(value: onnx.ValueInfoProto | None) -> bytes:
    model = models.conditional()
    del model.graph.input[1]
    if value is None:
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "labels"))
    else:
        model.graph.input.append(value)
    return models.sealed(model)


@pytest.mark.parametrize(
    "value",
    [
        None,
        helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["batch", 1]),
        helper.make_tensor_value_info("labels", onnx.TensorProto.INT32, ["batch"]),
        helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, [3]),
    ],
    ids=["missing", "two axes", "int32", "of three"],
)
def test_a_manifest_with_classes_needs_the_input(value: onnx.ValueInfoProto | None) -> None:
    with pytest.raises(ModelFileError, match=r"names 5 classes, and the graph has no input labels"):
        Generator(graph_with(value))


def test_a_second_input_without_classes_is_no_generator() -> None:
    model = models.conditional()
    del model.metadata_props[:]
    model.metadata_props.extend(models.generator().metadata_props)
    with pytest.raises(ModelFileError, match="it is not a generator"):
        Generator(models.sealed(model))
