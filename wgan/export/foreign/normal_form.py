"""A foreign generator's graph as wgan's own exports are: `latents` in, `images` and `pixels` out.

Weights stay as they are. What does not depend on the latents is computed once (spectral norm,
demodulation of constants), batch norm is folded into convolutions, and arithmetic is in float32.
"""

import copy
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import onnx
import onnx.version_converter
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wgan.errors import ExportError, needs_extra, translated_errors
from wgan.export.foreign.batch import check_freed, free_batch, frozen_batch_errors
from wgan.export.foreign.interface import FLOATS, Interface, check_operators, inline_functions
from wgan.export.formats import quiet
from wgan.export.formats.onnx import IR_VERSION, OPSET, check, clean
from wgan.export.lowering.calibration import open_session
from wgan.export.lowering.graph import (
    AnyArray,
    Graph,
    all_graphs,
    all_nodes,
    bodies,
    reads,
    value_names,
)
from wgan.image_shape import PIXEL_CHANNELS
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.model_file.graph_inputs import Inputs, LabelInput
from wgan.text import first_line

FOLDED_BYTES = 2**28
"""Largest size of a value that is computed once and kept as a constant."""

FIRST_COORDINATES = 11
"""The operator set whose Resize says which coordinates it uses; older ones had only one kind."""


def normalize(model: ModelProto, interface: Interface) -> ModelProto:
    """Rewrite `model` to the form of wgan's own exports.

    Raises:
        ExportError: the graph uses what cannot be rewritten.
    """
    check_operators(model)
    with _rewriting_errors():
        model = copy.deepcopy(inline_functions(model))
        _shorten_domain(model)
        _write_out_sparse_weights(model.graph)
        version = next(entry.version for entry in model.opset_import if entry.domain == "")
        if version < OPSET:
            model = onnx.version_converter.convert_version(model, OPSET)
        if version < FIRST_COORDINATES:
            _keep_coordinates(model.graph)
    _make_float32(model.graph)
    # Version 3 would want the weights among the inputs, where wgan has only latents and labels.
    model.ir_version = max(4, model.ir_version)
    batch = interface.inputs.batch
    if batch is not None:
        with _rewriting_errors():
            model = free_batch(fold_constants(model), interface.inputs)
    with frozen_batch_errors(batch):
        model = _with_names(model, interface)
        model = fold(model)
        model = clean(model)
        model.ir_version = max(IR_VERSION, model.ir_version if version <= OPSET else 11)
        check(model)
        check_freed(model, batch, interface.classes)
    return model


def fold(model: ModelProto) -> ModelProto:
    """Fold constants and batch norm; a graph that the optimiser cannot read stays as it is."""
    with _rewriting_errors(), quiet():
        with needs_extra("export", purpose="rewriting an ONNX graph"):
            from onnxscript import optimizer
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        return optimizer.optimize(fold_constants(model))


def fold_constants(model: ModelProto) -> ModelProto:
    """Compute every value that does not depend on an input, in ONNX Runtime."""
    graph = Graph(model)
    known = set(graph.constants) | {""}
    folded: list[NodeProto] = []
    rest: list[NodeProto] = []
    for node in model.graph.node:
        if known.issuperset(node.input) and not bodies(node):
            known.update(node.output)
            folded.append(node)
        else:
            rest.append(node)
    read = {name for node in rest for name in reads(node)}
    read |= {value.name for value in model.graph.output}
    needed = sorted({name for node in folded for name in node.output if name in read})
    if not needed:
        return model
    probe = copy.deepcopy(model)
    del probe.graph.node[:], probe.graph.output[:], probe.graph.input[:], probe.graph.value_info[:]
    probe.graph.node.extend(folded)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in needed)
    values: dict[str, AnyArray] = dict(
        zip(needed, open_session(probe).run(needed, {}), strict=True)
    )
    if sum(value.nbytes for value in values.values()) > FOLDED_BYTES:
        return model
    made = copy.deepcopy(model)
    del made.graph.node[:]
    made.graph.node.extend(rest)
    made.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in values.items()
    )
    return made


def _shorten_domain(model: ModelProto) -> None:
    """Give ONNX's own operators the domain "", which a file may also write as "ai.onnx"."""
    for entry in (*model.opset_import, *all_nodes(model.graph)):
        if entry.domain == "ai.onnx":
            entry.domain = ""


def _write_out_sparse_weights(whole: GraphProto) -> None:
    """Make sparse weights dense: neither onnx's converter nor its optimiser knows sparse ones."""
    for graph in all_graphs(whole):
        for sparse in graph.sparse_initializer:
            values, places = map(numpy_helper.to_array, (sparse.values, sparse.indices))
            dense = np.zeros(sparse.dims, values.dtype)
            # Places are [n], counted through all axes, or [n, axes].
            index = np.unravel_index(places, dense.shape) if places.ndim == 1 else tuple(places.T)
            dense[index] = values
            graph.initializer.append(numpy_helper.from_array(dense, sparse.values.name))
        del graph.sparse_initializer[:]


def _keep_coordinates(graph: GraphProto) -> None:
    """Let Resize take its pixels from where older operators did: onnx's converter forgets that."""
    for node in all_nodes(graph):
        if node.op_type == "Resize":
            node.attribute.extend([
                helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
                helper.make_attribute("nearest_mode", "floor"),
            ])  # fmt: skip


def _make_float32(whole: GraphProto) -> None:
    """Compute in float32 what the file computes in float16, bfloat16 or float64."""
    others = tuple(kind for kind in FLOATS if kind != TensorProto.FLOAT)

    def converted(tensor: TensorProto) -> TensorProto:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        return numpy_helper.from_array(array, tensor.name)

    for graph in all_graphs(whole):
        for tensor in graph.initializer:
            if tensor.data_type in others:
                tensor.CopyFrom(converted(tensor))
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in others:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        del graph.value_info[:]
    for entry in (entry for node in all_nodes(whole) for entry in node.attribute):
        if entry.HasField("t") and entry.t.data_type in others:
            entry.t.CopyFrom(converted(entry.t))
        if entry.name in ("to", "dtype") and entry.i in others:
            entry.i = TensorProto.FLOAT


def _with_names(model: ModelProto, interface: Interface) -> ModelProto:
    """Give the graph wgan's input and outputs."""
    made = copy.deepcopy(model)
    graph = made.graph
    taken = value_names(graph)
    _move_aside(graph, taken)
    inputs = interface.inputs
    output = _moved_aside(interface.output, taken)
    before = [
        *_input_nodes(inputs, _moved_aside(inputs.latents.name, taken)),
        *(
            node
            for name in sorted(interface.fixed)
            for node in _fixed_nodes(made, interface, name, taken)
        ),
    ]
    if inputs.labels is not None:
        name = _moved_aside(inputs.labels.value.name, taken)
        before += _label_nodes(made, inputs.labels, name)
    nodes = [*before, *graph.node, *_output_nodes(made, interface, output)]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    height, width, channels = interface.shape
    graph.input.append(
        helper.make_tensor_value_info(LATENTS, TensorProto.FLOAT, ["batch", inputs.latent_dim])
    )
    if inputs.labels is not None:
        graph.input.append(helper.make_tensor_value_info(LABELS, TensorProto.INT64, ["batch"]))
    images: list[int | str | None] = ["batch", channels, height, width]
    pixels: list[int | str | None] = ["batch", height, width, channels]
    graph.output.append(helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, images))
    if channels in PIXEL_CHANNELS:
        graph.output.append(helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, pixels))
    return made


def _move_aside(graph: GraphProto, taken: set[str]) -> None:
    """Rename the values of a graph, and of the bodies in it, that have our names already."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [_moved_aside(name, taken) for name in names]
        for body in bodies(node):
            _move_aside(body, taken)
            for value in (*body.input, *body.output):
                value.name = _moved_aside(value.name, taken)
    for tensor in graph.initializer:
        tensor.name = _moved_aside(tensor.name, taken)


def _moved_aside(name: str, taken: set[str]) -> str:
    """`name`, or another one if wgan gives it to a value of its own."""
    if name not in (LATENTS, LABELS, IMAGES, PIXELS) and not name.startswith("wgan_"):
        return name
    while (name := f"their_{name}") in taken:
        pass
    return name


def _input_nodes(inputs: Inputs, name: str) -> Iterator[NodeProto]:
    """`latents` [n, latent_dim] -> the file's own latents."""
    if inputs.batch_axis == 1:
        yield helper.make_node("Transpose", [LATENTS], [name], perm=[1, 0])
    elif len(inputs.axes) > 1:
        shape = numpy_helper.from_array(np.array([0, *inputs.axes]))
        yield helper.make_node("Constant", [], ["wgan_latent_axes"], value=shape)
        yield helper.make_node("Reshape", [LATENTS, "wgan_latent_axes"], [name])
    else:
        yield helper.make_node("Identity", [LATENTS], [name])


def _label_nodes(model: ModelProto, labels: LabelInput, name: str) -> Iterator[NodeProto]:
    """`labels` int64 [n] -> the file's own labels: one-hot, or indices of its type and shape."""
    is_float = "float" in labels.value.type or "double" in labels.value.type
    int32 = labels.value.type == "tensor(int32)"
    kind = TensorProto.FLOAT if is_float else TensorProto.INT32 if int32 else TensorProto.INT64
    if labels.one_hot:
        constants = {
            "wgan_classes": np.array(labels.classes),
            "wgan_off_on": np.array([0, 1], np.float32 if is_float else np.int64),
        }
        one_hot = [LABELS, *constants]
        yield helper.make_node("OneHot", one_hot, ["wgan_one_hot"])
        source = "wgan_one_hot"
    else:
        column = [-1] + [1] * (len(labels.value.shape) - 1)
        constants = {"wgan_label_axes": np.array(column)}
        yield helper.make_node("Reshape", [LABELS, "wgan_label_axes"], ["wgan_label_rows"])
        source = "wgan_label_rows"
    model.graph.initializer.extend(
        numpy_helper.from_array(value, key) for key, value in constants.items()
    )
    yield helper.make_node("Cast", [source], [name], to=kind)


def _fixed_nodes(
    model: ModelProto, interface: Interface, name: str, taken: set[str]
) -> Iterator[NodeProto]:
    """The value of an input that the user has fixed, once for each image."""
    value, target = interface.fixed[name], _moved_aside(name, taken)
    if value.dtype.kind == "f":
        value = value.astype(np.float32)
    constant = f"wgan_fixed_{name}"
    model.graph.initializer.append(numpy_helper.from_array(value, constant))
    if not any(each.per_image for each in interface.inputs.fixed if each.value.name == name):
        yield helper.make_node("Identity", [constant], [target])
        return
    rest = numpy_helper.from_array(np.array(value.shape[1:], np.int64))
    yield helper.make_node("Shape", [LATENTS], [f"{constant}_n"], start=0, end=1)
    yield helper.make_node("Constant", [], [f"{constant}_rest"], value=rest)
    yield helper.make_node(
        "Concat", [f"{constant}_n", f"{constant}_rest"], [f"{constant}_shape"], axis=0
    )
    yield helper.make_node("Expand", [constant, f"{constant}_shape"], [target])


def _output_nodes(model: ModelProto, interface: Interface, name: str) -> Iterator[NodeProto]:
    """The file's own images -> `images` [n, c, h, w] in [-1, 1] and `pixels` [n, h, w, c]."""
    height, width, channels = interface.shape
    constants = {
        "wgan_half": np.float32(127.5), "wgan_one": np.float32(1), "wgan_low": np.float32(0),
        "wgan_high": np.float32(255), "wgan_image": np.array([0, channels, height, width]),
    }  # fmt: skip
    low, high = interface.value_range or (0.0, 255.0)
    constants |= {
        "wgan_gain": np.float32(2 / (high - low)),
        "wgan_shift": np.float32(-1 - 2 * low / (high - low)),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()
    )
    if interface.value_range is None:
        # As at run time: whole numbers may be a level beside those of pixels, as 256 is.
        yield helper.make_node("Cast", [name], ["wgan_float"], to=TensorProto.FLOAT)
        clipped = ["wgan_float", "wgan_low", "wgan_high"]
        yield helper.make_node("Clip", clipped, ["wgan_in_levels"])
        name = "wgan_in_levels"
    if interface.layout == "nhwc":
        yield helper.make_node("Transpose", [name], ["wgan_first"], perm=[0, 3, 1, 2])
        name = "wgan_first"
    elif interface.layout != "nchw":
        yield helper.make_node("Reshape", [name, "wgan_image"], ["wgan_first"])
        name = "wgan_first"
    if (low, high) != (-1, 1):
        yield helper.make_node("Mul", [name, "wgan_gain"], ["wgan_scaled"])
        yield helper.make_node("Add", ["wgan_scaled", "wgan_shift"], [IMAGES])
    else:
        yield helper.make_node("Identity", [name], [IMAGES])
    if channels not in PIXEL_CHANNELS:
        return
    # The formula of `wgan.images`.
    yield helper.make_node("Add", [IMAGES, "wgan_one"], ["wgan_above"])
    yield helper.make_node("Mul", ["wgan_above", "wgan_half"], ["wgan_levels"])
    yield helper.make_node("Round", ["wgan_levels"], ["wgan_whole"])
    yield helper.make_node("Clip", ["wgan_whole", "wgan_low", "wgan_high"], ["wgan_clipped"])
    yield helper.make_node("Cast", ["wgan_clipped"], ["wgan_bytes"], to=TensorProto.UINT8)
    yield helper.make_node("Transpose", ["wgan_bytes"], [PIXELS], perm=[0, 2, 3, 1])


def _rewriting_errors() -> AbstractContextManager[None]:
    """Turn errors of onnx's and onnxscript's own code into an ExportError."""
    return translated_errors(
        lambda exc: ExportError(f"the file's graph cannot be rewritten: {first_line(exc, 200)}")
    )
