"""Small ONNX generators made with onnx.helper and numpy, so that no test here needs torch."""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from wgan.model_file.manifest import METADATA_KEY, Distance, Manifest, Receipt
from wgan.model_file.reading import content_sha256

LATENT_DIM = 4


def manifest(**changes: Any) -> Manifest:
    """The manifest of the model that `generator` makes."""
    receipt = Receipt(
        seeds="0-3",
        batch_sizes=(1, 2, 3),
        providers=("CPUExecutionProvider",),
        optimizations=("all",),
        threads=(1,),
        seen=Distance(images=1e-7, pixels=0, mean_pixels=0.0, psnr=120.0),
        allowed=Distance(images=1e-5, pixels=1, mean_pixels=0.01, psnr=55.0),
        loosened=False,
        float64_images=1e-7,
        goldens=(),
    )
    fields: dict[str, Any] = {
        "latent_dim": LATENT_DIM,
        "height": 8,
        "width": 8,
        "channels": 3,
        "precision": "fp32",
        "target": "portable",
        "opset": 17,
        "step": 12,
        "config": {"size": 8},
        "weights_sha256": "ab" * 32,
        "content_sha256": content_sha256(_graph(changes.get("channels", 3)).SerializeToString()),
        "wgan_version": "0.0.0",
        "receipt": receipt,
    }
    return Manifest(**(fields | changes))


def manifest_fields() -> dict[str, Any]:
    """The JSON object of `manifest()`."""
    fields: dict[str, Any] = json.loads(manifest().to_json())
    return fields


def manifest_text(fields: dict[str, Any]) -> str:
    """The JSON of a manifest, correct or not."""
    return json.dumps(fields)


def weights(channels: int = 3, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of `generator`: Gemm to 6x4x4, then a transposed convolution to 8x8."""
    random = np.random.RandomState(seed)
    drawn = {
        "w1": random.standard_normal((LATENT_DIM, 6 * 4 * 4)),
        "b1": random.standard_normal(6 * 4 * 4),
        "w2": random.standard_normal((6, channels, 4, 4)) * 0.2,
    }
    return {name: values.astype(np.float32) for name, values in drawn.items()}


def generator(
    channels: int = 3, *, told: Manifest | None = None, metadata: Sequence[tuple[str, str]] = ()
) -> onnx.ModelProto:
    """A generator of 8x8 images, shaped as wgan's exports are: `images` and `pixels`.

    `told` is its manifest, by default the right one; `metadata` stands in place of it.
    """
    model = _graph(channels)
    told = told or manifest(channels=channels)
    for key, value in metadata or [(METADATA_KEY, told.to_json())]:
        model.metadata_props.add(key=key, value=value)
    return model


CLASSES = ("cat", "dog", "Große Eule", "dog/2", "7")
"""Classes of `conditional`: among them names that files cannot have, and one of digits."""


def conditional(classes: tuple[str, ...] = CLASSES, *, seed: int = 3) -> onnx.ModelProto:
    """A generator with classes: an embedding of `labels` is added to the first layer's output."""
    model = _graph(3)
    table = np.random.RandomState(seed).standard_normal((len(classes), 6 * 4 * 4))
    model.graph.initializer.append(numpy_helper.from_array(table.astype(np.float32), "table"))
    value = helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch"])
    model.graph.input.append(value)
    gemm, *others = list(model.graph.node)
    gemm.output[0] = "plain"
    nodes = [
        gemm,
        helper.make_node("Gather", ["table", "labels"], ["embedded"]),
        helper.make_node("Add", ["plain", "embedded"], ["flat"]),
        *others,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    content = content_sha256(model.SerializeToString())
    told = manifest(classes=classes, content_sha256=content)
    model.metadata_props.add(key=METADATA_KEY, value=told.to_json())
    return model


def sealed(model: onnx.ModelProto) -> bytes:
    """The bytes of a changed model, with the checksum in its manifest corrected."""
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    content = content_sha256(model.SerializeToString())
    told = dataclasses.replace(Manifest.from_json(entry.value), content_sha256=content)
    entry.value = told.to_json()
    return bytes(model.SerializeToString())


def _graph(channels: int) -> onnx.ModelProto:
    """The generator without a manifest."""
    constants = weights(channels) | {
        "shape": np.array([-1, 6, 4, 4], np.int64),
        "one": np.array(1, np.float32),
        "half": np.array(127.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["latents", "w1", "b1"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["maps"]),
        helper.make_node("Relu", ["maps"], ["active"]),
        helper.make_node(
            "ConvTranspose", ["active", "w2"], ["raw"], strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Tanh", ["raw"], ["images"]),
        *pixel_nodes(),
    ]
    return make_model(
        nodes,
        constants,
        [("latents", TensorProto.FLOAT, ["batch", LATENT_DIM])],
        [
            ("images", TensorProto.FLOAT, ["batch", channels, 8, 8]),
            ("pixels", TensorProto.UINT8, ["batch", 8, 8, channels]),
        ],
    )


def slow_to_open() -> bytes:
    """A generator that ONNX Runtime takes minutes to open: it folds a long product of constants."""
    made = generator()
    made.graph.initializer.append(numpy_helper.from_array(np.array([4096, 4096]), "square"))
    names = [f"power{number}" for number in range(100)]
    nodes = [
        helper.make_node("ConstantOfShape", ["square"], [names[0]]),
        *(helper.make_node("MatMul", [a, a], [b]) for a, b in itertools.pairwise(names)),
        helper.make_node("ReduceMax", [names[-1]], ["largest"], keepdims=0),
        helper.make_node("Add", ["raw", "largest"], ["moved"]),
        helper.make_node("Tanh", ["moved"], ["images"]),
    ]
    kept = [node for node in made.graph.node if node.output[0] != "images"]
    del made.graph.node[:]
    made.graph.node.extend([*kept[:4], *nodes, *kept[4:]])
    return sealed(made)


def endless() -> onnx.ModelProto:
    """A generator that opens like any other and whose first run never ends."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["again_out"]),
            helper.make_node("Identity", ["state"], ["state_out"]),
        ],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("again", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, None),
        ],
        [value("again_out", TensorProto.BOOL, []), value("state_out", TensorProto.FLOAT, None)],
    )
    made = generator()
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    made.graph.node[0].input[0] = "looped"
    made.graph.node.insert(
        0, helper.make_node("Loop", ["", "true", "latents"], ["looped"], body=body)
    )
    return made


def pixel_nodes() -> list[onnx.NodeProto]:
    """`images` -> `pixels`, as `wgan.images.to_pixels` does it."""
    return [
        helper.make_node("Add", ["images", "one"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "half"], ["scaled"]),
        helper.make_node("Round", ["scaled"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["pixels"], perm=[0, 2, 3, 1]),
    ]


def make_model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray[Any, Any]],
    inputs: Sequence[tuple[str, int, list[Any]]],
    outputs: Sequence[tuple[str, int, list[Any]]],
) -> onnx.ModelProto:
    """A model of these parts, opset 17."""
    graph = helper.make_graph(
        list(nodes),
        "generator",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
