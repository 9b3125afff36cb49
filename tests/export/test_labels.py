"""Exports of generators with classes: every format and precision, each class, and planted swaps."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper
from torch import nn

from tests.export.conditional import LATENT_DIM, ByChannel, Embedding, OneHot
from tests.runtime.models import manifest
from wgan.errors import ParityError
from wgan.export.config import ExportConfig
from wgan.export.draft import ExportDraft, make_draft
from wgan.export.formats.onnx import onnx_draft, serialize, to_onnx
from wgan.export.formats.triton import model_config as triton_config
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.float16 import to_fp16
from wgan.export.lowering.sensitivity import quantize
from wgan.export.parity.engines import onnx_engines
from wgan.export.parity.extent import BATCH_SIZES
from wgan.export.parity.gate import GOLDEN_SEEDS, Reference, proof_labels, prove
from wgan.latents import labels_from_seeds, latents_from_seeds
from wgan.model_file.manifest import Receipt

CLASSES = 5
NETWORKS: list[Callable[[int], nn.Module]] = [Embedding, OneHot, ByChannel]


def network(kind: Callable[[int], nn.Module], classes: int = CLASSES) -> nn.Module:
    return kind(classes).eval().requires_grad_(False)


def gate(draft: ExportDraft, reference: Reference, config: ExportConfig) -> Receipt:
    """Compare the draft's file, with a manifest of its classes, with PyTorch."""
    classes = tuple(map(str, range(1 + int(reference.labels.max()))))  # type: ignore[union-attr]
    height, width = reference.images.shape[2:]
    told = manifest(latent_dim=LATENT_DIM, height=height, width=width, classes=classes)
    return prove(
        draft.engines(draft.serialize(told.to_json())), reference, config.allowed(), loosened=False
    )


def check(generator: nn.Module, config: ExportConfig, kind: str = "onnx") -> None:
    """Make a draft and prove it."""
    draft = make_draft(generator, LATENT_DIM, config, kind, CLASSES)
    reference = Reference.draw(generator, LATENT_DIM, config.seeds, CLASSES)
    assert len(gate(draft, reference, config).goldens) == len(GOLDEN_SEEDS)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_generator_with_classes_is_exported_to_onnx(kind: Callable[[int], nn.Module]) -> None:
    check(network(kind), ExportConfig())


@pytest.mark.parametrize("file_format", ["torchscript", "pt2"])
def test_a_generator_with_classes_is_exported_for_pytorch(file_format: str) -> None:
    check(network(Embedding), ExportConfig(target="portable"), file_format)


@pytest.mark.parametrize(("kind", "precision"), [(OneHot, "fp16"), (ByChannel, "int8")])
def test_a_generator_with_classes_is_exported_in_reduced_precision(
    kind: Callable[[int], nn.Module], precision: str
) -> None:
    check(network(kind), ExportConfig(precision=precision))


def test_the_graph_takes_labels_of_any_batch() -> None:
    model = to_onnx(network(Embedding), LATENT_DIM, CLASSES)
    latents, labels = model.graph.input
    assert (latents.name, labels.name) == ("latents", "labels")
    assert labels.type.tensor_type.elem_type == onnx.TensorProto.INT64
    (axis,) = labels.type.tensor_type.shape.dim
    assert axis.dim_param == latents.type.tensor_type.shape.dim[0].dim_param != ""


def test_nodes_of_the_labels_pass_the_lowering_untouched() -> None:
    model = to_onnx(network(Embedding), LATENT_DIM, CLASSES)
    before = [node for node in model.graph.node if "labels" in node.input]
    after = [node for node in lower(model).graph.node if "labels" in node.input]
    assert [node.op_type for node in before] == ["Gather"]
    assert [(each.op_type, each.input, each.output) for each in after] == [
        (each.op_type, each.input, each.output) for each in before
    ]


def table(model: ModelProto) -> onnx.TensorProto:
    """The embedding of the classes."""
    (gather,) = (node for node in model.graph.node if "labels" in node.input)
    found: list[onnx.TensorProto] = list(model.graph.initializer)
    return next(each for each in found if each.name == gather.input[0])


def swap(model: ModelProto, first: int, second: int) -> None:
    weights = table(model)
    rows = numpy_helper.to_array(weights).copy()
    rows[[first, second]] = rows[[second, first]]
    weights.CopyFrom(numpy_helper.from_array(rows, weights.name))


def lowered(generator: nn.Module, precision: str, classes: int) -> ModelProto:
    model = to_onnx(generator, LATENT_DIM, classes)
    if precision == "fp16":
        return to_fp16(model)
    model = lower(model, eight_bits=precision == "int8")
    return quantize(model, 40, classes).model if precision == "int8" else model


@pytest.mark.parametrize(
    ("precision", "classes", "first", "second"),
    [("fp32", 5, 0, 1), ("fp32", 300, 298, 299), ("fp16", 5, 3, 4), ("int8", 300, 0, 299)],
)
def test_two_classes_that_are_swapped_are_refused(
    precision: str, classes: int, first: int, second: int
) -> None:
    generator, config = network(Embedding, classes), ExportConfig(precision=precision)
    model = lowered(generator, precision, classes)
    reference = Reference.draw(generator, LATENT_DIM, config.seeds, classes)
    gate(onnx_draft(model), reference, config)
    swap(model, first, second)
    with pytest.raises(ParityError, match="does not match PyTorch"):
        gate(onnx_draft(model), reference, config)


def test_the_error_names_the_label() -> None:
    generator = network(Embedding)
    model = to_onnx(generator, LATENT_DIM, CLASSES)
    swap(model, 1, 2)
    reference = Reference.draw(generator, LATENT_DIM, classes=CLASSES)
    with pytest.raises(ParityError, match="images of seed 1, label 1, at"):
        gate(onnx_draft(model), reference, ExportConfig())


def test_labels_that_the_graph_ignores_are_refused() -> None:
    generator = network(Embedding)
    model = to_onnx(generator, LATENT_DIM, CLASSES)
    rows = numpy_helper.to_array(table(model))
    table(model).CopyFrom(numpy_helper.from_array(rows[[0] * CLASSES], table(model).name))
    reference = Reference.draw(generator, LATENT_DIM, classes=CLASSES)
    with pytest.raises(ParityError, match=r"images of seed [12], label"):
        gate(onnx_draft(model), reference, ExportConfig())


@pytest.mark.parametrize("classes", [1, 2, 10, sum(BATCH_SIZES)])
def test_the_proof_tries_every_class_as_users_get_it(classes: int) -> None:
    seeds = range(1024)
    labels = proof_labels(seeds, classes)
    assert set(labels[: sum(BATCH_SIZES)].tolist()) == set(range(classes))
    np.testing.assert_array_equal(labels, labels_from_seeds(seeds, classes))


@pytest.mark.parametrize("classes", [sum(BATCH_SIZES) + 1, 1000, 10**6])
def test_the_proof_of_many_classes_tries_hundreds_that_are_spread(classes: int) -> None:
    labels = proof_labels(range(sum(BATCH_SIZES)), classes)
    assert labels[: len(GOLDEN_SEEDS)].tolist() == list(GOLDEN_SEEDS)
    found = np.unique(labels)
    assert len(found) >= 64
    assert np.diff(found).max() <= classes / 64
    assert found.max() < classes


def test_calibration_sees_every_class() -> None:
    """A class with large activations decides the scale, whichever its label is."""
    generator = Embedding(CLASSES).eval().requires_grad_(False)
    generator.embedding.weight[CLASSES - 1] *= 10
    config = ExportConfig(precision="int8")
    model = lowered(generator, "int8", CLASSES)
    plain = lower(to_onnx(generator, LATENT_DIM, CLASSES), eight_bits=True)
    narrow = quantize(plain, 40, classes=1).model
    reference = Reference.draw(generator, LATENT_DIM, config.seeds, CLASSES)
    errors = []
    for each in (model, narrow):
        told = manifest(latent_dim=LATENT_DIM, height=32, width=32, classes=tuple("01234"))
        engines = onnx_engines(serialize(each, told.to_json()))  # which closes what it opened
        assert reference.labels is not None
        rows = np.flatnonzero(reference.labels == CLASSES - 1)[:64]
        images, _ = next(engines).run(reference.latents[rows], reference.labels[rows])
        errors.append(float(np.square(images - reference.images[rows]).mean()))
    assert errors[0] < 0.7 * errors[1]


def test_tritons_configuration_has_the_input() -> None:
    labelled, plain = triton_config(manifest(classes=("cat", "dog"))), triton_config(manifest())
    line = '  { name: "labels" data_type: TYPE_INT64 dims: [1] reshape: { shape: [] } }'
    assert line in labelled
    assert labelled.replace(f",\n{line}", "") == plain


def test_an_image_has_the_label_of_its_seed() -> None:
    generator = network(Embedding)
    reference = Reference.draw(generator, LATENT_DIM, classes=CLASSES)
    latents = torch.from_numpy(latents_from_seeds([7], LATENT_DIM))
    with torch.no_grad():
        expected = generator(latents, torch.tensor([7 % CLASSES])).numpy()
    assert np.abs(reference.images[7] - expected[0]).max() < 1e-6
