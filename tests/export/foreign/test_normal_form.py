"""Graphs that other exporters write: `wgan optimize` keeps their images, or says what to do."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.export.foreign.networks import LATENT_DIM, foreign, make_model, random
from wgan.errors import ExportError
from wgan.export import OptimizeConfig, optimize
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

make_node = helper.make_node


def optimized(model: ModelProto, tmp_path: Path, **options: Any) -> Path:
    """Optimise `model`, and compare its images with ONNX Runtime's of the model itself."""
    theirs, mine = tmp_path / "theirs.onnx", tmp_path / "mine.onnx"
    onnx.save(model, theirs)
    optimize(OptimizeConfig(file=theirs, output=mine, **options))
    session = onnxruntime.InferenceSession(theirs, providers=["CPUExecutionProvider"])
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 4
    latents = latents_from_seeds(range(batch), LATENT_DIM)
    expected = session.run(None, {session.get_inputs()[0].name: latents})[0]
    with Generator(mine) as generator:
        assert np.abs(generator.images(latents) - expected).max() < 1e-5
    return mine


def calling(*body: onnx.NodeProto) -> ModelProto:
    """The generator with ReLU in a function `aten_relu` of the file's own: `x` -> `y`."""
    model = foreign()
    (relu,) = (node for node in model.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "aten_relu", "pkg.onnxscript.torch_lib"
    opset = helper.make_opsetid("", 18)
    function = helper.make_function(relu.domain, relu.op_type, ["x"], ["y"], list(body), [opset])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid(relu.domain, 1))
    return model


def test_functions_that_the_file_defines_are_inlined(tmp_path: Path) -> None:
    optimized(calling(make_node("Relu", ["x"], ["y"])), tmp_path)


def test_random_numbers_inside_a_function_are_found(tmp_path: Path) -> None:
    model = calling(
        make_node("RandomNormalLike", ["x"], ["noise"]), make_node("Add", ["x", "noise"], ["y"])
    )
    with pytest.raises(ExportError, match=r"draws random numbers itself \(RandomNormalLike\)"):
        optimized(model, tmp_path)


def test_weights_among_the_inputs_of_old_files_are_folded(tmp_path: Path) -> None:
    nodes = [
        make_node("Mul", ["w", "two"], ["doubled"]),
        make_node("MatMul", ["z", "doubled"], ["lines"]),
        make_node("Reshape", ["lines", "map"], ["small"]),
        make_node("Tanh", ["small"], ["image"]),
    ]
    weights = {
        "w": random(LATENT_DIM, 192), "two": np.array(2, np.float32),
        "map": np.array([-1, 3, 8, 8]),
    }  # fmt: skip
    model = make_model(
        nodes,
        weights,
        [("z", TensorProto.FLOAT, ["n", LATENT_DIM])],
        [("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
        opset=9,
    )
    model.ir_version = 3
    for tensor in model.graph.initializer:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    optimized(model, tmp_path)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 9), ("Resize", 10)])
def test_old_upsampling_keeps_its_coordinates(
    tmp_path: Path, operator: str, opset: int, mode: str
) -> None:
    model = foreign(opset=opset)
    model.graph.node[0].op_type = "MatMul"  # the Gemm of these sets needs a bias
    (resize,) = (node for node in model.graph.node if node.op_type == "Resize")
    resize.CopyFrom(make_node(operator, ["small", "twice"], ["large"], mode=mode))
    optimized(model, tmp_path)
