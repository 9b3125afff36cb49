"""Each lowered form compared with PyTorch's transposed convolution."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.graph import Graph

STRIDE_2: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def layer_model(
    weight: Any,
    size: tuple[int, int],
    bias: Any = None,
    behind: Sequence[str] = ("Relu",),
    **given: Any,
) -> ModelProto:
    """One transposed convolution and the operators after it: `x` -> `y`."""
    constants = {"w": weight} if bias is None else {"w": weight, "b": bias}
    nodes = [helper.make_node("ConvTranspose", ["x", *constants], ["v0"], **given)]
    for index, operator in enumerate(behind):
        nodes.append(helper.make_node(operator, [f"v{index}"], [f"v{index + 1}"]))
    nodes[-1].output[0] = "y"
    return helper.make_model(
        helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weight), *size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )


def operators(model: ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def run(model: ModelProto, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: np.ndarray[Any, Any] = session.run(None, {"x": x})[0]
    return result


def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 4),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 20),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    bias=st.booleans(),
    relu=st.booleans(),
)
def test_phases_and_taps_are_the_transposed_convolution(
    n: int, inputs: int, outputs: int, size: tuple[int, int], bias: bool, relu: bool
) -> None:
    weight, x = draw(inputs, outputs, 4, 4), draw(n, inputs, *size, seed=1)
    b = draw(outputs, seed=2) if bias else None
    model = layer_model(weight, size, b, ("Relu",) if relu else ("Tanh",), **STRIDE_2)
    lowered = lower(model)
    assert "ConvTranspose" not in operators(lowered)
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x),
        torch.from_numpy(weight),
        None if b is None else torch.from_numpy(b),
        stride=2,
        padding=1,
    )
    expected = expected.relu() if relu else expected.tanh()
    assert np.abs(run(lowered, x) - expected.numpy()).max() < 2e-5


def test_few_channels_take_the_products_of_all_taps_first() -> None:
    model = layer_model(draw(4, 3, 4, 4), (5, 5), **STRIDE_2)
    assert "DepthToSpace" in operators(lower(model))
    # There is no 8-bit form of it.
    assert operators(lower(model, eight_bits=True)) == {"ConvTranspose", "Relu"}


@pytest.mark.parametrize("kernel", [(4, 4), (2, 3)])
def test_a_kernel_on_one_pixel_becomes_a_matrix_product(kernel: tuple[int, int]) -> None:
    weight, bias, x = draw(6, 5, *kernel), draw(5, seed=2), draw(3, 6, 1, 1, seed=1)
    lowered = lower(layer_model(weight, (1, 1), bias))
    assert operators(lowered) == {"Reshape", "Gemm", "Relu"}
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(bias)
    ).relu()
    assert np.abs(run(lowered, x) - expected.numpy()).max() < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 5),
    outputs=st.integers(9, 12),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    output_padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_stride_2_of_any_kernel_is_four_convolutions(
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    kernel: tuple[int, int],
    pads: tuple[int, int, int, int],
    output_padding: tuple[int, int],
) -> None:
    model = layer_model(
        draw(inputs, outputs, *kernel), size, draw(outputs, seed=2), kernel_shape=kernel,
        strides=[2, 2], pads=pads, output_padding=output_padding,
    )  # fmt: skip
    height, width = (
        2 * (size[i] - 1) + kernel[i] + output_padding[i] - pads[i] - pads[i + 2] for i in (0, 1)
    )
    assume(min(height, width) > 0)
    x = draw(2, inputs, *size, seed=1)
    assert np.abs(run(lower(model, eight_bits=True), x) - run(model, x)).max() < 1e-4


@pytest.mark.parametrize(
    ("kernel", "pad", "output_padding"),
    [(2, 0, 0), (3, 1, 1), (4, 1, 0), (5, 2, 1), (6, 2, 0), (3, 1, 0), (4, 0, 0)],
)
def test_usual_kernels_take_the_form_phases(kernel: int, pad: int, output_padding: int) -> None:
    model = layer_model(
        draw(4, 16, kernel, kernel), (5, 5), kernel_shape=[kernel] * 2, strides=[2, 2],
        pads=[pad] * 4, output_padding=[output_padding] * 2,
    )  # fmt: skip
    assert "ConvTranspose" not in operators(lower(model, eight_bits=True))
    # In float32 the operator is faster with small kernels.
    assert ("ConvTranspose" in operators(lower(model))) == (kernel < 4)


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        ((4, 16, 4, 4), {"strides": [1, 1]}),
        ((4, 16, 4, 4), {"strides": [2, 1]}),
        ((4, 16, 4, 4), {"dilations": [2, 2]}),
        ((4, 16, 4, 4), {"group": 2}),
        ((4, 16, 4, 4), {"auto_pad": "SAME_UPPER"}),
    ],
)
def test_other_layers_are_kept_as_they_are(shape: tuple[int, ...], changes: dict[str, Any]) -> None:
    model = layer_model(draw(*shape), (5, 5), **{**STRIDE_2, **changes})
    assert operators(lower(model)) == {"ConvTranspose", "Relu"}


def test_a_value_that_two_nodes_read_stays_readable() -> None:
    model = layer_model(draw(4, 16, 4, 4), (3, 3), behind=("Relu",), **STRIDE_2)
    model.graph.node.append(helper.make_node("Neg", ["v0"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, list("nchw")))
    x = draw(2, 4, 3, 3, seed=1)
    session = onnxruntime.InferenceSession(lower(model).SerializeToString())
    y, z = session.run(["y", "z"], {"x": x})
    np.testing.assert_array_equal(y, np.maximum(-z, 0))


def test_a_layer_that_is_an_output_itself_keeps_its_name() -> None:
    weight, x = draw(4, 16, 4, 4), draw(2, 4, 3, 3, seed=1)
    model = layer_model(weight, (3, 3), behind=("Relu",), **STRIDE_2)
    del model.graph.node[1]
    model.graph.output[0].name = "v0"
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(weight), stride=2, padding=1
    )
    assert np.abs(run(lower(model), x) - expected.numpy()).max() < 1e-5


def test_constants_that_nothing_reads_are_left_out() -> None:
    model = layer_model(draw(4, 16, 4, 4), (3, 3), **STRIDE_2)
    assert "w" in Graph(model).constants
    assert "w" not in {tensor.name for tensor in lower(model).graph.initializer}
