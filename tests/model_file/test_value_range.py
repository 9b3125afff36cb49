"""The range of images as the last operators of a graph tell it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.runtime.models import LATENT_DIM, make_model
from wgan.model_file.onnx_scan import scan
from wgan.model_file.value_range import inferred_range

node = helper.make_node

NUMBERS: dict[str, Any] = {
    "half": np.array(0.5, np.float32),
    "one": np.array([1], np.float32),
    "two": np.array(2, np.float32),
    "minus": np.array(-1, np.float32),
    "top": np.array(255, np.float32),
    "many": np.array([1, 2], np.float32),
    "scales": np.array([1, 1, 2, 2], np.float32),
}


def range_of(*nodes: onnx.NodeProto) -> tuple[float, float] | None:
    model = make_model(
        nodes,
        NUMBERS,
        [("x", TensorProto.FLOAT, ["n", LATENT_DIM])],
        [("y", TensorProto.FLOAT, None)],  # type: ignore[list-item]
    )
    return inferred_range("y", scan(model.SerializeToString()).producers)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([node("Tanh", ["x"], ["y"])], (-1, 1)),
        ([node("Clip", ["x", "minus", "one"], ["y"])], (-1, 1)),
        ([node("Clip", ["x"], ["y"], min=0.0, max=255.0)], (0, 255)),
        ([node("Tanh", ["x"], ["t"]), node("Add", ["t", "one"], ["a"]),
          node("Div", ["a", "two"], ["y"])], (0, 1)),
        ([node("Tanh", ["x"], ["t"]), node("Mul", ["half", "t"], ["a"]),
          node("Add", ["half", "a"], ["y"])], (0, 1)),
        ([node("Sigmoid", ["x"], ["t"]), node("Mul", ["t", "top"], ["y"])], (0, 255)),
        ([node("Sigmoid", ["x"], ["t"]), node("Cast", ["t"], ["y"], to=1)], (0, 1)),
        ([node("Tanh", ["x"], ["t"]), node("Constant", [], ["c"], value_float=3.0),
          node("Mul", ["t", "c"], ["y"])], (-3, 3)),
        ([node("Tanh", ["x"], ["t"]), node("Resize", ["t", "", "scales"], ["y"],
                                           mode="nearest")], (-1, 1)),
        ([node("Abs", ["x"], ["a"]), node("Add", ["a", "one"], ["b"]),
          node("Div", ["x", "b"], ["y"])], (-1, 1)),
    ],
)  # fmt: skip
def test_the_range_is_told(nodes: Sequence[onnx.NodeProto], expected: tuple[float, float]) -> None:
    assert range_of(*nodes) == expected


def test_a_range_that_ends_at_0_has_no_minus_sign() -> None:
    nodes = [node("Sigmoid", ["x"], ["t"]), node("Mul", ["t", "minus"], ["y"])]
    assert [f"{value:g}" for value in range_of(*nodes) or ()] == ["-1", "0"]


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Relu", ["x"], ["y"])],
        [node("Clip", ["x", "minus"], ["y"])],
        [node("Tanh", ["x"], ["t"]), node("Mul", ["t", "many"], ["y"])],
        [node("Tanh", ["x"], ["t"]), node("Add", ["t", "x"], ["y"])],
        [node("Tanh", ["x"], ["t"]), node("Resize", ["t", "", "scales"], ["y"], mode="cubic")],
        [node("Abs", ["x"], ["a"]), node("Add", ["a", "two"], ["b"]),
         node("Div", ["x", "b"], ["y"])],
        [node("Identity", ["y"], ["z"]), node("Identity", ["z"], ["y"])],
    ],
)  # fmt: skip
def test_a_range_is_not_told_where_it_would_be_wrong(nodes: Sequence[onnx.NodeProto]) -> None:
    assert range_of(*nodes) is None
