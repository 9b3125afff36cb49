"""Filters of single maps as depthwise convolutions, and gated convolutions in two."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper

from tests.export.foreign.networks import Constants, make_model, random
from wgan.export.lowering.calibration import open_session
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.depthwise import widen_filters
from wgan.export.lowering.gates import split_convolutions

CHANNELS, SIZE = 5, 6

FILTER: list[NodeProto] = [
    helper.make_node("Reshape", ["x", "single"], ["maps"]),
    helper.make_node("Conv", ["maps", "kernel"], ["filtered"], pads=[1, 1, 1, 1]),
    helper.make_node("Reshape", ["filtered", "whole"], ["y"]),
]
CONSTANTS: Constants = {
    "kernel": random(1, 1, 3, 3),
    "single": np.array([-1, 1, SIZE, SIZE]),
    "whole": np.array([-1, CHANNELS, SIZE, SIZE]),
}


def model_of(nodes: list[NodeProto], constants: Constants, outputs: list[Any]) -> ModelProto:
    inputs = [("x", TensorProto.FLOAT, ["n", CHANNELS, SIZE, SIZE])]
    return make_model(nodes, constants, inputs, [("y", TensorProto.FLOAT, ["n", *outputs])])


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def difference(one: ModelProto, two: ModelProto) -> float:
    x = random(3, CHANNELS, SIZE, SIZE, seed=9)
    first, second = (open_session(model).run(["y"], {"x": x})[0] for model in (one, two))
    assert first.shape == second.shape
    return float(np.abs(first - second).max())


def test_a_filter_of_single_maps_becomes_a_depthwise_convolution() -> None:
    model = model_of(FILTER, CONSTANTS, [CHANNELS, SIZE, SIZE])
    widened = widen_filters(model)
    assert operators(widened) == ["Conv"]
    assert difference(model, widened) < 1e-6


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_the_padding_before_the_filter_stays(mode: str) -> None:
    nodes = [
        FILTER[0],
        helper.make_node("Pad", ["maps", "pads"], ["padded"], mode=mode),
        helper.make_node("Conv", ["padded", "kernel"], ["filtered"]),
        FILTER[2],
    ]
    pads = {"pads": np.array([0, 0, 2, 1, 0, 0, 0, 1])}
    model = model_of(nodes, CONSTANTS | pads, [CHANNELS, SIZE, SIZE])
    widened = widen_filters(model)
    assert operators(widened) == ["Pad", "Conv"]
    assert difference(model, widened) < 1e-6


def test_a_filter_after_zeros_between_pixels_is_found() -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "apart"], ["points"]),
        helper.make_node("Pad", ["points", "pads"], ["wide"]),
        helper.make_node("Reshape", ["wide", "single"], ["maps"]),
        *FILTER[1:],
    ]
    constants = CONSTANTS | {
        "apart": np.array([-1, CHANNELS, SIZE, 1, SIZE, 1]),
        "pads": np.array([0] * 9 + [1, 0, 1]),
        "single": np.array([-1, 1, 2 * SIZE, 2 * SIZE]),
        "whole": np.array([-1, CHANNELS, 2 * SIZE, 2 * SIZE]),
    }
    model = model_of(nodes, constants, [CHANNELS, 2 * SIZE, 2 * SIZE])
    widened = widen_filters(model)
    groups = [entry.i for entry in widened.graph.node[-1].attribute if entry.name == "group"]
    assert groups == [CHANNELS]
    assert difference(model, widened) < 1e-6


def test_maps_that_something_else_reads_stay() -> None:
    nodes = [
        *FILTER[:2],
        helper.make_node("Add", ["filtered", "maps"], ["sum"]),
        helper.make_node("Reshape", ["sum", "whole"], ["z"]),
        helper.make_node("Reshape", ["filtered", "whole"], ["w"]),
        helper.make_node("Mul", ["z", "w"], ["y"]),
    ]
    model = model_of(nodes, CONSTANTS, [CHANNELS, SIZE, SIZE])
    assert operators(widen_filters(model)) == [node.op_type for node in nodes]


def gated(operator: str, **settings: Any) -> ModelProto:
    shape = (8, CHANNELS, 3, 3) if operator == "Conv" else (CHANNELS, 24, 4, 4)
    channels = shape[0] if operator == "Conv" else shape[1]
    size = SIZE if operator == "Conv" else 2 * SIZE
    nodes = [
        helper.make_node(operator, ["x", "w", "b"], ["both"], pads=[1, 1, 1, 1], **settings),
        helper.make_node("Split", ["both"], ["value", "gate"], axis=1, num_outputs=2),
        helper.make_node("Sigmoid", ["gate"], ["share"]),
        helper.make_node("Mul", ["value", "share"], ["y"]),
    ]
    weights = {"w": random(*shape), "b": random(channels, seed=1)}
    return model_of(nodes, weights, [channels // 2, size, size])


def test_a_gated_convolution_becomes_two() -> None:
    model = gated("Conv")
    split = split_convolutions(model)
    assert operators(split) == ["Conv", "Conv", "Sigmoid", "Mul"]
    assert difference(model, split) < 1e-6


def test_the_phases_of_a_gated_transposed_convolution_are_joined_once_at_the_end() -> None:
    model = gated("ConvTranspose", strides=[2, 2])
    lowered = lower(split_convolutions(model))
    names = operators(lowered)
    assert names.count("Conv") == 8
    assert (names.count("Sigmoid"), names.count("Mul"), names.count("Concat")) == (4, 4, 3)
    assert difference(model, lowered) < 1e-5
