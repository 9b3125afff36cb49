"""Small ONNX networks from images to vectors, made with onnx.helper."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Axis = int | str


def network(
    kind: int = TensorProto.FLOAT,
    shape: tuple[Axis, Axis, Axis, Axis] = ("n", 1, 32, 32),
    *,
    width: int = 6,
    logits: int = 0,
    name: str = "features",
    seed: int = 0,
) -> onnx.ModelProto:
    """Each vector is a random linear map of its image's values, and so are the logits.

    Args:
        kind: the input's element type.
        shape: of the input; height, width and channels are numbers.
        width: numbers in a vector.
        logits: classes; 0 leaves the output out.
        name: of the vectors' output.
        seed: of the maps.
    """
    values = int(np.prod([axis for axis in shape[1:] if isinstance(axis, int)]))
    random = np.random.RandomState(seed)
    maps = {"features": random.standard_normal((values, width))}
    if logits:
        maps["logits"] = random.standard_normal((values, logits)) / 4
    constants: dict[str, np.ndarray[Any, Any]] = {"flat": np.array([-1, values], np.int64)}
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["values", "flat"], ["row"]),
    ]
    outputs = []
    for output, drawn in maps.items():
        called = name if output == "features" else output
        constants[f"{output}_map"] = (drawn / np.sqrt(values)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", ["row", f"{output}_map"], [called]))
        described = [shape[0], drawn.shape[1]]
        outputs.append(helper.make_tensor_value_info(called, TensorProto.FLOAT, described))
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("image", kind, list(shape))],
        outputs,
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def linear_map(model: onnx.ModelProto, output: str = "features") -> np.ndarray[Any, Any]:
    """The matrix that gives an output of `network`."""
    found = {each.name: each for each in model.graph.initializer}
    return numpy_helper.to_array(found[f"{output}_map"])
