"""Graphs that other exporters write: `wgan optimize` keeps their images, or says what to do."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.export.foreign.networks import LATENT_DIM, foreign, make_model, random
from wgan.errors import ExportError, MissingExtra, UsageError
from wgan.export import OptimizeConfig, optimize
from wgan.export.foreign.normal_form import normalize
from wgan.export.parity.file_reference import ForeignFile
from wgan.latents import latents_from_seeds
from wgan.runtime import ForeignOptions, Generator

make_node = helper.make_node


def optimized(model: ModelProto, tmp_path: Path, allowed: float = 1e-5, **options: Any) -> Path:
    """Optimise `model`, and compare its images with ONNX Runtime's of the model itself."""
    theirs, mine = tmp_path / "theirs.onnx", tmp_path / "mine.onnx"
    onnx.save(model, theirs)
    optimize(OptimizeConfig(file=theirs, output=mine, **options))
    session = onnxruntime.InferenceSession(theirs, providers=["CPUExecutionProvider"])
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 4
    latents = latents_from_seeds(range(batch), LATENT_DIM)
    expected = session.run(None, {session.get_inputs()[0].name: latents})[0]
    with Generator(mine) as generator:
        assert np.abs(generator.images(latents) - expected).max() < allowed
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


@pytest.mark.parametrize(
    "make",
    [
        lambda: foreign(opset=18),
        lambda: foreign(opset=13),
        lambda: with_bodies("If", "raw"),
        lambda: calling(make_node("Relu", ["x"], ["y"])),
    ],
    ids=["plain", "converted", "bodies", "function"],
)
def test_the_long_name_of_onnx_operators_is_taken(
    tmp_path: Path, make: Callable[[], ModelProto]
) -> None:
    model = make()
    # ONNX Runtime does not take it in bodies and functions.
    for entry in (*model.opset_import, *model.graph.node):
        entry.domain = entry.domain or "ai.onnx"
    optimized(model, tmp_path)


def test_a_missing_onnxscript_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # importing it fails
    with pytest.raises(MissingExtra, match=r"needs the package onnxscript.*'wgan\[export\]'"):
        optimized(foreign(), tmp_path)


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


def frozen(batch: int, *before: onnx.NodeProto, **constants: Any) -> ModelProto:
    """The generator for batches of one size; `before` makes `row`."""
    return foreign(
        latents=(batch, LATENT_DIM),
        before=[*before, make_node("Mul", ["z", "row"], ["flat"])],
        output=(batch, 3, 8, 8),
        constants=constants,
    )


@pytest.mark.parametrize("batch", [1, 6])
def test_a_reshape_of_a_weight_keeps_its_size_that_is_that_of_the_batch(
    tmp_path: Path, batch: int
) -> None:
    """A row of 6 weights, made [1, 6] and [6, 1]: both sizes are those of a batch."""
    reshapes = [
        make_node("Reshape", ["flat_row", "column"], ["upright"]),
        make_node("Reshape", ["upright", "line"], ["row"]),
    ]
    model = frozen(
        batch,
        *reshapes,
        flat_row=random(LATENT_DIM, seed=8),
        column=np.array([LATENT_DIM, 1]),
        line=np.array([1, LATENT_DIM]),
    )
    with Generator(optimized(model, tmp_path)) as generator:
        assert generator.fixed_batch is None


def test_a_shape_that_two_nodes_share_is_freed_for_one_of_them(tmp_path: Path) -> None:
    model = frozen(1, row=random(1, LATENT_DIM, seed=8), flat_map=random(80, seed=9))
    reshape = model.graph.node[2]
    assert reshape.op_type == "Reshape"
    reshape.input[0] = "shifted"
    model.graph.node.insert(2, make_node("Add", ["lines", "bias"], ["shifted"]))
    model.graph.node.insert(2, make_node("Reshape", ["bias4", "rows"], ["bias"]))
    model.graph.node.insert(2, make_node("Reshape", ["flat_map", "map"], ["bias4"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 80]), "rows"))
    optimized(model, tmp_path)


def test_a_reshape_whose_zero_is_a_size_is_freed(tmp_path: Path) -> None:
    """PyTorch's exporter writes -1 for a batch of one, and allowzero."""
    model = frozen(1, row=random(1, LATENT_DIM, seed=8), free_map=np.array([-1, 5, 4, 4]))
    (reshape,) = (node for node in model.graph.node if node.op_type == "Reshape")
    reshape.input[1] = "free_map"
    reshape.attribute.append(helper.make_attribute("allowzero", 1))
    with Generator(optimized(model, tmp_path)) as generator:
        assert generator.fixed_batch is None


@pytest.mark.parametrize("opset", [13, 18])
def test_the_given_model_stays_as_it_is(opset: int) -> None:
    model = foreign(opset=opset)
    before = model.SerializeToString(deterministic=True)
    normalize(model, ForeignFile.open(model, ForeignOptions()).interface)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("axes", [1, 2])
def test_sparse_weights_are_written_out(tmp_path: Path, axes: int) -> None:
    model = foreign()
    (weights,) = (each for each in model.graph.initializer if each.name == "w0")
    array = numpy_helper.to_array(weights)
    where = np.nonzero(array > 0.2)
    values = numpy_helper.from_array(array[where], "w0")
    places = np.ravel_multi_index(where, array.shape) if axes == 1 else np.stack(where, axis=1)
    indices = numpy_helper.from_array(np.asarray(places), "places")
    model.graph.initializer.remove(weights)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, indices, list(array.shape))
    )
    optimized(model, tmp_path)


def test_a_row_that_is_repeated_for_each_image_of_the_batch_is_kept_once(tmp_path: Path) -> None:
    row = np.tile(random(1, LATENT_DIM, seed=8), (4, 1))
    with Generator(optimized(frozen(4, row=row), tmp_path)) as generator:
        assert generator.sample(3).shape == (3, 8, 8, 3)


class Attention(torch.nn.Module):
    """A generator whose tokens attend to each other, with the batch as the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(LATENT_DIM, 16 * 8)
        self.attention = torch.nn.MultiheadAttention(8, 2)
        self.last = torch.nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        n = latents.shape[0]
        tokens = self.first(latents).view(n, 16, 8).permute(1, 0, 2)
        tokens = self.attention(tokens, tokens, tokens, need_weights=False)[0]
        images: torch.Tensor = self.last(tokens.permute(1, 2, 0).reshape(n, 8, 4, 4)).tanh()
        return images


@pytest.mark.parametrize("batch", [1, 3])
def test_attention_with_a_frozen_batch_is_freed(tmp_path: Path, batch: int) -> None:
    torch.manual_seed(0)
    path = tmp_path / "attention.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            Attention().eval(), (torch.zeros(batch, LATENT_DIM),), path, dynamo=False,
            opset_version=17, input_names=["z"], output_names=["image"],
        )  # fmt: skip
    optimized(onnx.load(path), tmp_path)


def test_a_frozen_batch_that_cannot_be_freed_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Each image of a batch of 4 gets a row of its own: no other batch has such rows."""
    model = frozen(4, row=random(4, LATENT_DIM, seed=8))
    with pytest.raises(ExportError, match=r"batches of 4.* dynamic batch axis \(dynamic_axes"):
        optimized(model, tmp_path)


def branch(operator: str, value: str) -> onnx.GraphProto:
    """A branch of If that reads `value` from outside, and a constant."""
    output = f"of_{operator}"
    return helper.make_graph(
        [make_node(operator, [value, "half"], [output])],
        operator,
        [],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
    )


def repeated() -> onnx.GraphProto:
    """The body of a Loop that multiplies its value by a constant from outside."""
    return helper.make_graph(
        [make_node("Identity", ["go"], ["went"]), make_node("Mul", ["now", "half"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("now", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("went", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )


def with_bodies(kind: str, name: str) -> ModelProto:
    """A transposed convolution `name`, whose value a body reads, before ReLU of the same value."""
    if kind == "If":
        inner = [
            make_node("Size", ["z"], ["size"]),
            make_node("Greater", ["size", "none"], ["any"]),
            make_node("If", ["any"], ["inner"], then_branch=branch("Mul", name),
                      else_branch=branch("Sub", name)),
        ]  # fmt: skip
    else:
        inner = [make_node("Loop", ["trips", "", name], ["inner"], body=repeated())]
    nodes = [
        make_node("Gemm", ["z", "w0"], ["lines"]),
        make_node("Reshape", ["lines", "map"], ["small"]),
        make_node("Conv", ["small", "w3"], ["mixed"], pads=[1, 1, 1, 1]),
        make_node("ConvTranspose", ["mixed", "w1"], [name], strides=[2, 2], pads=[1, 1, 1, 1]),
        make_node("Relu", [name], ["active"]),
        *inner,
        make_node("Add", ["active", "inner"], ["sum"]),
        make_node("Conv", ["sum", "w2"], ["features"], pads=[1, 1, 1, 1]),
        make_node("Tanh", ["features"], ["image"]),
    ]
    constants = {
        "w0": random(LATENT_DIM, 80), "map": np.array([-1, 5, 4, 4]), "w3": random(5, 5, 3, 3),
        "w1": random(5, 12, 4, 4, seed=1), "w2": random(3, 12, 3, 3, seed=2) / 16,
        "half": np.array(0.5, np.float32), "none": np.array(0), "trips": np.array(2),
    }  # fmt: skip
    return make_model(
        nodes,
        constants,
        [("z", TensorProto.FLOAT, ["n", LATENT_DIM])],
        [("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
    )


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("fp16", 0.01), ("int8", 0.2)])
@pytest.mark.parametrize(("kind", "name"), [("If", "raw"), ("If", "images"), ("Loop", "raw")])
def test_bodies_of_if_and_loop_find_the_outer_values_that_they_read(
    tmp_path: Path, kind: str, name: str, precision: str, allowed: float
) -> None:
    optimized(with_bodies(kind, name), tmp_path, allowed, precision=precision)


def test_random_numbers_in_a_branch_that_is_never_taken_are_found(tmp_path: Path) -> None:
    model = with_bodies("If", "raw")
    (choice,) = (node for node in model.graph.node if node.op_type == "If")
    (noise,) = next(each for each in choice.attribute if each.name == "else_branch").g.node
    noise.CopyFrom(make_node("RandomNormalLike", ["raw"], list(noise.output)))
    with pytest.raises(ExportError, match=r"draws random numbers itself \(RandomNormalLike\)"):
        optimized(model, tmp_path)


def test_a_file_that_wgan_wrote_is_optimised_already(tmp_path: Path) -> None:
    mine = optimized(foreign(), tmp_path)
    again = OptimizeConfig(file=mine, output=tmp_path / "again.onnx")
    with pytest.raises(UsageError, match=r"mine.onnx was written by wgan and is optimised already"):
        optimize(again)


@pytest.mark.parametrize("name", ["wgan_half", "wgan_first", "wgan_image"])
def test_values_may_have_names_that_wgan_gives(tmp_path: Path, name: str) -> None:
    """A constant, a value or the images themselves."""
    constant = name if name == "wgan_half" else "half"
    value = name if name == "wgan_first" else "halved"
    image = name if name == "wgan_image" else "image"
    last = [
        make_node("Mul", ["features", constant], [value]),
        make_node("Tanh", [value], [image]),
    ]
    model = foreign(last, constants={constant: np.array(0.5, np.float32)})
    model.graph.output[0].name = image
    optimized(model, tmp_path)


def quantised() -> ModelProto:
    """The generator with an activation in 8 bits."""
    model = foreign()
    index, active = next(
        (index, node) for index, node in enumerate(model.graph.node) if node.op_type == "Relu"
    )
    active.output[0] = "float"
    model.graph.node.insert(
        index + 1, make_node("QuantizeLinear", ["float", "step", "zero"], ["q"])
    )
    model.graph.node.insert(
        index + 2, make_node("DequantizeLinear", ["q", "step", "zero"], ["active"])
    )
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array(0.02, np.float32), "step"),
        numpy_helper.from_array(np.array(0, np.uint8), "zero"),
    ])  # fmt: skip
    return model


def test_a_file_in_8_bits_is_not_converted_to_float16(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"8 bits already \(QuantizeLinear\).*float32 file"):
        optimized(quantised(), tmp_path, precision="fp16")
