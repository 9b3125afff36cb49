"""Graph passes run one after the other keep every value of the graph."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.checkpoints import trained_checkpoint
from wgan.export.formats.onnx import to_onnx
from wgan.export.lowering.calibration import open_session
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.float16 import to_fp16
from wgan.export.lowering.graph import Graph
from wgan.export.lowering.sensitivity import quantize
from wgan.export.lowering.upsampling import fold_upsampling
from wgan.latents import latents_from_seeds
from wgan.training.networks import folded

LATENT_DIM = 16


def lower_for_int8(model: ModelProto) -> ModelProto:
    return lower(model, eight_bits=True)


def eight_bits(model: ModelProto) -> ModelProto:
    return quantize(model, 40).model


def to_int8(model: ModelProto) -> ModelProto:
    return eight_bits(lower_for_int8(model))


Pass = Callable[[ModelProto], ModelProto]

PAIRS: list[tuple[Pass, Pass]] = [
    (lower, lower),
    (lower, to_fp16),
    (to_fp16, lower),
    (lower_for_int8, eight_bits),
    (to_int8, lower),
    (fold_upsampling, lower),
    (lower, fold_upsampling),
    (to_int8, fold_upsampling),
    (to_fp16, fold_upsampling),
]
"""Passes that can follow one another."""


@pytest.fixture(scope="module")
def model() -> ModelProto:
    return to_onnx(folded(trained_checkpoint(width=8).ema_generator()), LATENT_DIM)


def rename_values(model: ModelProto) -> ModelProto:
    """Give all values, except the inputs and outputs, names that no pass gives."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    renamed = ModelProto()
    renamed.CopyFrom(model)
    names: dict[str, str] = {name: name for name in kept}
    for tensor in renamed.graph.initializer:
        tensor.name = names.setdefault(tensor.name, f"renamed{len(names)}")
    for node in renamed.graph.node:
        for field in (node.input, node.output):
            field[:] = [names.setdefault(name, f"renamed{len(names)}") for name in field]
    return renamed


def run(model: ModelProto) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(["images"], {"latents": latents_from_seeds(range(3), LATENT_DIM)})[0]


def test_a_graph_that_cannot_run_writes_nothing_to_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["latents", "five"], ["images"])],
        "g",
        [value("latents", TensorProto.FLOAT, ["n", LATENT_DIM])],
        [value("images", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([5, 5]), "five")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = open_session(model)
    with pytest.raises(Exception, match="Reshape"):
        session.run(None, {"latents": np.zeros((1, LATENT_DIM), np.float32)})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("first", "second"), PAIRS, ids=lambda step: getattr(step, "__name__", None)
)
def test_a_pass_keeps_the_values_of_the_pass_before_it(
    model: ModelProto, first: Pass, second: Pass
) -> None:
    between = first(model)
    # Passes name values by one scheme: without the names of the first, none can be overwritten.
    np.testing.assert_array_equal(run(second(between)), run(second(rename_values(between))))


def test_new_names_differ_from_every_name_of_the_model() -> None:
    names = [f"{prefix}_{number:03d}" for prefix in ("a", "relu") for number in range(1, 6)]
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", [name], [f"relu_{index + 6:03d}"])
             for index, name in enumerate(names)],
            "model",
            [],
            [helper.make_tensor_value_info("relu_006", TensorProto.FLOAT, [1])],
            [numpy_helper.from_array(np.full(1, index, np.float32), name)
             for index, name in enumerate(names)],
        )
    )  # fmt: skip
    graph = Graph(model)
    for node in model.graph.node:
        graph.copy(node)
    added = {graph.constant(np.float32(-1), "a") for _ in range(9)}
    added |= {graph.add("Relu", name) for name in sorted(added)}
    assert len(added) == 18
    assert not added & {*names, *(node.output[0] for node in model.graph.node)}
    for index, name in enumerate(names):
        assert graph.constants[name] == index
