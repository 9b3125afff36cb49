"""A slow generator, which makes requests queue."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.runtime import models

SIZE = 256


def slow_generator(rounds: int) -> bytes:
    """`models.generator` behind `rounds` products with a matrix, 0.13 MFLOP each and image.

    On one core an image takes about `rounds` * 5 microseconds. What the rounds make is worth
    nothing in the images, but ONNX Runtime cannot know.
    """
    model = models.generator()
    graph = model.graph
    random = np.random.RandomState(1)
    constants = {
        "wide": random.standard_normal((models.LATENT_DIM, SIZE)) / 2,
        "mix": random.standard_normal((SIZE, SIZE)) / 16,
        "narrow": random.standard_normal((SIZE, models.LATENT_DIM)) * 1e-12,
    }
    graph.initializer.extend(
        numpy_helper.from_array(values.astype(np.float32), name)
        for name, values in constants.items()
    )
    graph.initializer.append(numpy_helper.from_array(np.array(rounds, np.int64), "rounds"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("MatMul", ["x_in", "mix"], ["mixed"]),
            helper.make_node("Tanh", ["mixed"], ["x_out"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("round_number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("MatMul", ["latents", "wide"], ["x_first"]),
        helper.make_node("Loop", ["rounds", "always", "x_first"], ["x_last"], body=body),
        helper.make_node("MatMul", ["x_last", "narrow"], ["nothing"]),
        helper.make_node("Add", ["latents", "nothing"], ["same_latents"]),
    ]
    rest = list(graph.node)
    rest[0].input[0] = "same_latents"
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    onnx.checker.check_model(model)
    return models.sealed(model)
