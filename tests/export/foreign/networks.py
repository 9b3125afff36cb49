"""Small generators as other projects' exporters write them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

LATENT_DIM = 6

Constants = dict[str, np.ndarray[Any, Any]]


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Weights of about the size that keeps variances."""
    return (np.random.RandomState(seed).standard_normal(shape) / 3).astype(np.float32)


def make_model(
    nodes: Sequence[NodeProto],
    constants: Constants,
    inputs: Sequence[tuple[str, int, list[Any]]],
    outputs: Sequence[tuple[str, int, list[Any]]],
    opset: int = 18,
) -> ModelProto:
    """A model of these parts."""
    graph = helper.make_graph(
        list(nodes),
        "theirs",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def foreign(
    last: Sequence[NodeProto] = (),
    *,
    latents: Sequence[Any] = ("n", LATENT_DIM),
    more_inputs: Sequence[tuple[str, int, list[Any]]] = (),
    before: Sequence[NodeProto] = (),
    output: Sequence[Any] = ("n", 3, 8, 8),
    output_type: int = TensorProto.FLOAT,
    constants: Constants | None = None,
    opset: int = 18,
) -> ModelProto:
    """Linear, upsampling, convolution, batch norm, ReLU, convolution; `features` -> `image`.

    `before` makes `flat` `[n, LATENT_DIM]` of the input `z`, by default it is `z`; `last` makes
    `image` of `features`, by default by tanh.
    """
    batch = latents[0]
    rows = -1 if isinstance(batch, str) else batch
    flat = "flat" if before else "z"
    nodes = [
        *before,
        helper.make_node("Gemm", [flat, "w0"], ["lines"]),
        helper.make_node("Reshape", ["lines", "map"], ["small"]),
        helper.make_node("Resize", ["small", "", "twice"], ["large"], mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        helper.make_node("Conv", ["large", "w1"], ["raw"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["raw", "s", "b", "m", "v"], ["normal"]),
        helper.make_node("Relu", ["normal"], ["active"]),
        helper.make_node("Conv", ["active", "w2"], ["features"], pads=[1, 1, 1, 1]),
        *(last or [helper.make_node("Tanh", ["features"], ["image"])]),
    ]  # fmt: skip
    weights = {
        "w0": random(LATENT_DIM, 5 * 16), "w1": random(12, 5, 3, 3, seed=1),
        "w2": random(3, 12, 3, 3, seed=2) / 4, "map": np.array([rows, 5, 4, 4]),
        "twice": np.array([1, 1, 2, 2], np.float32), "s": random(12, seed=3) + 1,
        "b": random(12, seed=4), "m": random(12, seed=5), "v": np.abs(random(12, seed=6)) + 1,
    }  # fmt: skip
    return make_model(
        nodes,
        weights | (constants or {}),
        [("z", TensorProto.FLOAT, list(latents)), *more_inputs],
        [("image", output_type, list(output))],
        opset,
    )
