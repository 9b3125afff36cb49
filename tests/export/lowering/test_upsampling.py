"""Nearest upsampling and the convolution after it, in every form that exporters write."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.upsampling import fold_upsampling

Constants = dict[str, np.ndarray[Any, Any]]

Form = Callable[[int, int, int], tuple[list[NodeProto], Constants]]
"""Channels, height and width -> nodes from `x` to `up`, and their constants."""


def resize(**modes: str) -> Form:
    def make(channels: int, height: int, width: int) -> tuple[list[NodeProto], Constants]:
        node = helper.make_node("Resize", ["x", "", "scales"], ["up"], mode="nearest", **modes)
        return [node], {"scales": np.array([1, 1, 2, 2], np.float32)}

    return make


def repeated(channels: int, height: int, width: int) -> tuple[list[NodeProto], Constants]:
    """`x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(...)`."""
    nodes = [
        helper.make_node("Reshape", ["x", "apart"], ["six"]),
        helper.make_node("Expand", ["six", "wide"], ["twelve"]),
        helper.make_node("Reshape", ["twelve", "joined"], ["up"]),
    ]
    return nodes, {
        "apart": np.array([-1, channels, height, 1, width, 1]),
        "wide": np.array([1, channels, height, 2, width, 2]),
        "joined": np.array([-1, channels, 2 * height, 2 * width]),
    }


def stacked(channels: int, height: int, width: int) -> tuple[list[NodeProto], Constants]:
    """Four copies and depth to space, as in the WGAN-GP authors' code."""
    nodes = [
        helper.make_node("Concat", ["x"] * 4, ["four"], axis=1),
        helper.make_node("DepthToSpace", ["four"], ["up"], blocksize=2),
    ]
    return nodes, {}


def gathered(channels: int, height: int, width: int) -> tuple[list[NodeProto], Constants]:
    """`x.repeat_interleave(2, 2).repeat_interleave(2, 3)`."""
    nodes = [
        helper.make_node("Gather", ["x", "rows"], ["tall"], axis=2),
        helper.make_node("Gather", ["tall", "columns"], ["up"], axis=3),
    ]
    return nodes, {"rows": np.arange(height).repeat(2), "columns": np.arange(width).repeat(2)}


ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

FORMS = [resize(**ASYMMETRIC), resize(), repeated, stacked, gathered]


def make_model(
    form: Form, weight: np.ndarray[Any, Any], size: tuple[int, int], **changes: Any
) -> ModelProto:
    """An upsampling and a convolution: `x` -> `y`."""
    outputs, inputs, kernel = weight.shape[:3]
    nodes, constants = form(inputs, *size)
    settings = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4} | changes
    nodes.append(helper.make_node("Conv", ["up", "w", "b"], ["y"], **settings))
    constants |= {"w": weight, "b": np.arange(outputs, dtype=np.float32)}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs, *size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def run(model: ModelProto, x: np.ndarray[Any, Any]) -> Any:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def operators(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    n=st.integers(1, 3),
    inputs=st.integers(1, 5),
    outputs=st.sampled_from([1, 3, 9, 16]),
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    kernel=st.sampled_from([1, 3]),
)
def test_the_folded_form_is_exact_up_to_the_borders(
    form: Form, n: int, inputs: int, outputs: int, size: tuple[int, int], kernel: int
) -> None:
    model = make_model(form, draw(outputs, inputs, kernel, kernel), size)
    x = draw(n, inputs, *size, seed=1)
    expected = run(model, x)
    for rewritten in (fold_upsampling(model), lower(fold_upsampling(model))):
        assert np.abs(run(rewritten, x) - expected).max() < 3e-5


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_four_small_convolutions(form: Form) -> None:
    lowered = lower(fold_upsampling(make_model(form, draw(16, 4, 3, 3), (4, 5))))
    assert operators(lowered) == {"Conv", "Transpose", "Concat", "Reshape"}


@pytest.mark.parametrize("form", FORMS)
def test_a_1x1_convolution_moves_before_the_upsampling(form: Form) -> None:
    folded = fold_upsampling(make_model(form, draw(16, 4, 1, 1), (4, 5)))
    assert [node.op_type for node in folded.graph.node] == ["Conv", "Resize"]


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        (resize(coordinate_transformation_mode="asymmetric", nearest_mode="ceil"), {}),
        (resize(coordinate_transformation_mode="align_corners"), {}),
        (resize(**ASYMMETRIC), {"pads": [0, 0, 0, 0]}),
        (resize(**ASYMMETRIC), {"strides": [2, 2]}),
        (resize(**ASYMMETRIC), {"dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    ],
)
def test_what_is_not_nearest_by_2_and_3x3_stays(form: Form, changes: dict[str, Any]) -> None:
    model = make_model(form, draw(16, 4, 3, 3), (4, 5), **changes)
    assert operators(fold_upsampling(model)) == {"Resize", "Conv"}


@pytest.mark.parametrize("mode", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("factor", [2, 2.2])
def test_a_factor_that_only_rounds_to_a_doubled_size_stays(mode: str, factor: float) -> None:
    model = make_model(resize(coordinate_transformation_mode=mode), draw(16, 4, 3, 3), (4, 4))
    scales = np.array([1, 1, factor, factor], np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(scales, "scales"))
    x = draw(2, 4, 4, 4, seed=1)
    assert run(model, x).shape[2:] == (8, 8)
    folded = fold_upsampling(model)
    assert np.abs(run(folded, x) - run(model, x)).max() < 3e-5
    assert operators(folded) == ({"ConvTranspose"} if factor == 2 else {"Resize", "Conv"})


def sized(channels: int, height: int, width: int) -> tuple[list[NodeProto], Constants]:
    """Resize to a size rather than by a factor."""
    nodes = [helper.make_node("Resize", ["x", "", "", "sizes"], ["up"], mode="nearest")]
    return nodes, {"sizes": np.array([2, channels, 2 * height, 2 * width])}


def test_sizes_that_double_the_map_are_folded() -> None:
    model = make_model(sized, draw(16, 4, 3, 3), (4, 5))
    x = draw(2, 4, 4, 5, seed=1)
    folded = fold_upsampling(model)
    assert operators(folded) == {"ConvTranspose"}
    assert np.abs(run(folded, x) - run(model, x)).max() < 3e-5


def test_few_channels_stay_as_they_are_in_8_bits() -> None:
    model = make_model(resize(**ASYMMETRIC), draw(3, 4, 3, 3), (4, 5))
    assert operators(fold_upsampling(model, eight_bits=True)) == {"Resize", "Conv"}
    assert operators(fold_upsampling(model)) == {"ConvTranspose"}
