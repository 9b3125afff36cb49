"""The gate finds every fault of a list of errors that an exporter could make."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tests.checkpoints import trained_checkpoint
from wgan.errors import ParityError
from wgan.export.config import TOLERANCES, ExportConfig
from wgan.export.draft import export_checkpoint, make_draft, publish
from wgan.export.formats.onnx import onnx_draft, to_onnx
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.sensitivity import quantize
from wgan.export.parity.engines import onnx_engines
from wgan.export.parity.gate import Reference, prove
from wgan.model_file.manifest import Manifest
from wgan.training.checkpoint import Checkpoint
from wgan.training.networks import folded

LATENT_DIM = 16
PORTABLE = ExportConfig(target="portable")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint(width=8)


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> Reference:
    return Reference.draw(checkpoint.ema_generator(), LATENT_DIM)


@pytest.fixture(scope="module")
def manifest(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return export_checkpoint(checkpoint, PORTABLE, tmp_path_factory.mktemp("sound") / "g.onnx")


@pytest.fixture(scope="module")
def plain_graph(checkpoint: Checkpoint) -> ModelProto:
    return to_onnx(folded(checkpoint.ema_generator()), LATENT_DIM)


@pytest.fixture
def plain(plain_graph: ModelProto) -> ModelProto:
    """A copy of the portable graph to plant faults in."""
    return copy.deepcopy(plain_graph)


@pytest.fixture
def lowered(plain_graph: ModelProto) -> ModelProto:
    return lower(plain_graph)


Gate = Callable[[ModelProto], None]


@pytest.fixture
def gate(reference: Reference, manifest: Manifest) -> Gate:
    """Pass a model through the gate of its precision."""

    def run(model: ModelProto) -> None:
        eight_bits = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        allowed = TOLERANCES["int8" if eight_bits else "fp32"]
        data = onnx_draft(model).serialize(manifest.to_json())
        prove(onnx_engines(data), reference, allowed, loosened=False)

    return run


def nodes(model: ModelProto, operator: str) -> list[NodeProto]:
    found = [node for node in model.graph.node if node.op_type == operator]
    assert found, operator
    return found


def kernels(model: ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]


def change(model: ModelProto, name: str, how: Callable[[Any], Any]) -> None:
    """Replace the value of a constant by `how(value)`."""
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    value = np.ascontiguousarray(how(numpy_helper.to_array(tensor).copy()))
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def add_constant(model: ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    return name


def more_by_a_hundredth(value: Any) -> Any:
    value[np.unravel_index(np.abs(value).argmax(), value.shape)] *= 1.01
    return value


def one_weight_is_off_by_1_percent(model: ModelProto) -> None:
    change(model, kernels(model)[1].name, more_by_a_hundredth)


def colour_channels_are_swapped(model: ModelProto) -> None:
    change(model, kernels(model)[-1].name, lambda value: value[:, [1, 0, 2]])


def feature_maps_are_shifted(model: ModelProto) -> None:
    change(model, kernels(model)[1].name, lambda value: np.roll(value, 1, axis=0))


def a_kernel_is_mirrored(model: ModelProto) -> None:
    change(model, kernels(model)[2].name, lambda value: value[:, :, ::-1, ::-1])


def a_kernel_lost_a_tap(model: ModelProto) -> None:
    def without(value: Any) -> Any:
        value[:, :, 0, 0] = 0
        return value

    change(model, kernels(model)[-1].name, without)


def weights_went_through_float16(model: ModelProto) -> None:
    for tensor in kernels(model):
        change(model, tensor.name, lambda value: value.astype(np.float16).astype(np.float32))


def the_batch_is_frozen_at_2(model: ModelProto) -> None:
    (node,) = nodes(model, "Unsqueeze")
    node.op_type = "Reshape"
    node.input[1] = add_constant(model, "frozen", [2, LATENT_DIM, 1, 1])


def the_last_activation_is_dropped(model: ModelProto) -> None:
    nodes(model, "Tanh")[0].op_type = "Identity"


def the_last_activation_is_another(model: ModelProto) -> None:
    nodes(model, "Tanh")[0].op_type = "Softsign"


def a_relu_leaks(model: ModelProto) -> None:
    nodes(model, "Relu")[1].op_type = "LeakyRelu"


def a_relu_is_dropped(model: ModelProto) -> None:
    nodes(model, "Relu")[0].op_type = "Identity"


def a_bias_is_lost(model: ModelProto) -> None:
    node = nodes(model, "ConvTranspose")[1]
    del node.input[2:]


def pixels_are_truncated(model: ModelProto) -> None:
    nodes(model, "Round")[0].op_type = "Floor"


def pixels_take_the_range_0_to_1(model: ModelProto) -> None:
    add = nodes(model, "Add")[-1]
    change(model, add.input[1], lambda value: np.zeros_like(value))


def pixels_are_transposed(model: ModelProto) -> None:
    helper_node = nodes(model, "Transpose")[-1]
    del helper_node.attribute[:]
    helper_node.attribute.append(helper.make_attribute("perm", [0, 3, 2, 1]))


def images_take_the_range_0_to_1(model: ModelProto) -> None:
    tanh = nodes(model, "Tanh")[0]
    tanh.op_type = "Sigmoid"


def latents_are_normalised(model: ModelProto) -> None:
    (node,) = nodes(model, "Unsqueeze")
    model.graph.node.insert(
        0, helper.make_node("LpNormalization", ["latents"], ["unit"], axis=1, p=2)
    )
    node.input[0] = "unit"


PLAIN_FAULTS = [
    one_weight_is_off_by_1_percent,
    colour_channels_are_swapped,
    feature_maps_are_shifted,
    a_kernel_is_mirrored,
    a_kernel_lost_a_tap,
    weights_went_through_float16,
    the_batch_is_frozen_at_2,
    the_last_activation_is_dropped,
    the_last_activation_is_another,
    a_relu_leaks,
    a_relu_is_dropped,
    a_bias_is_lost,
    pixels_are_truncated,
    pixels_take_the_range_0_to_1,
    pixels_are_transposed,
    images_take_the_range_0_to_1,
    latents_are_normalised,
]


def two_phases_are_exchanged(model: ModelProto) -> None:
    first = nodes(model, "Concat")[0]
    first.input[0], first.input[1] = first.input[1], first.input[0]


def two_rows_are_exchanged(model: ModelProto) -> None:
    last = nodes(model, "Concat")[2]
    last.input[0], last.input[1] = last.input[1], last.input[0]


def a_phase_is_shifted_by_a_pixel(model: ModelProto) -> None:
    for attribute in nodes(model, "Conv")[-1].attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [attribute.ints[2], *attribute.ints[1:2], attribute.ints[0], 0]
            attribute.ints[3] = 1 - attribute.ints[1]


def a_phase_lost_its_bias(model: ModelProto) -> None:
    del nodes(model, "Conv")[0].input[2:]


LOWERED_FAULTS = [
    two_phases_are_exchanged,
    two_rows_are_exchanged,
    a_phase_is_shifted_by_a_pixel,
    a_phase_lost_its_bias,
]


def a_scale_is_doubled(model: ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 4}
    read = [node for node in nodes(model, "DequantizeLinear") if node.input[0] in weights]
    change(model, read[0].input[1], lambda value: value * 2)


def bytes_are_read_as_signed(model: ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in nodes(model, "DequantizeLinear"):
        if node.input[0] not in constants:
            node.input[2] = "signed"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(128, np.uint8), "signed"))


EIGHT_BIT_FAULTS = [a_scale_is_doubled, bytes_are_read_as_signed]


@pytest.mark.parametrize("plant", PLAIN_FAULTS)
def test_a_fault_in_the_portable_graph_is_found(
    plain: ModelProto, gate: Gate, plant: Callable[[ModelProto], None]
) -> None:
    plant(plain)
    with pytest.raises(ParityError):
        gate(plain)


@pytest.mark.parametrize("plant", LOWERED_FAULTS)
def test_a_fault_in_the_lowered_graph_is_found(
    lowered: ModelProto, gate: Gate, plant: Callable[[ModelProto], None]
) -> None:
    plant(lowered)
    with pytest.raises(ParityError):
        gate(lowered)


@pytest.mark.parametrize("plant", EIGHT_BIT_FAULTS)
def test_a_fault_in_the_8_bit_graph_is_found(
    lowered: ModelProto, gate: Gate, plant: Callable[[ModelProto], None]
) -> None:
    model = quantize(lowered, 40).model
    plant(model)
    with pytest.raises(ParityError):
        gate(model)


def test_the_graphs_without_a_fault_pass(
    plain: ModelProto, lowered: ModelProto, gate: Gate
) -> None:
    for model in (plain, lowered, quantize(lowered, 40).model):
        gate(model)


def other_epsilon(generator: torch.nn.Module) -> None:
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-3


def statistics_of_the_batch(generator: torch.nn.Module) -> None:
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = module.running_var = None  # so the batch's are used


def no_buffers(generator: torch.nn.Module) -> None:
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "pt2"])
@pytest.mark.parametrize("plant", [other_epsilon, statistics_of_the_batch, no_buffers])
def test_another_generator_than_the_checkpoints_is_found(
    checkpoint: Checkpoint,
    tmp_path: Path,
    kind: str,
    plant: Callable[[torch.nn.Module], None],
) -> None:
    generator = checkpoint.ema_generator()
    plant(generator)
    draft = make_draft(generator, LATENT_DIM, PORTABLE, kind)
    with pytest.raises(ParityError, match="images of seed"):
        publish(draft, checkpoint, PORTABLE, tmp_path / "generator")
    assert not list(tmp_path.iterdir())


def test_weights_other_than_the_ema_are_found(checkpoint: Checkpoint, tmp_path: Path) -> None:
    raw = dataclasses.replace(checkpoint, average=checkpoint.generator)
    draft = make_draft(raw.ema_generator(), LATENT_DIM, PORTABLE)
    with pytest.raises(ParityError, match="images of seed"):
        publish(draft, checkpoint, PORTABLE, tmp_path / "generator.onnx")


def test_a_refused_export_leaves_the_old_file_as_it_was(
    checkpoint: Checkpoint, plain: ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(b"the old one")
    colour_channels_are_swapped(plain)
    with pytest.raises(ParityError):
        publish(onnx_draft(plain), checkpoint, PORTABLE, path)
    assert path.read_bytes() == b"the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["generator.onnx"]
