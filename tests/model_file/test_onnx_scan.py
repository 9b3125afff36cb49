import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.model_file.onnx_scan import scan
from wgan.model_file.value_range import Producer


def external_tensor() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(2, np.float32), "stolen")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def inner_graph(tensor: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def in_an_initializer(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_an_attribute(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_a_list_of_an_attribute(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant")
    node.attribute.add(name="many").tensors.append(tensor)


def in_a_graph_of_an_attribute(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=inner_graph(tensor)))


def in_a_list_of_graphs(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant")
    node.attribute.add(name="many").graphs.append(inner_graph(tensor))


def in_a_graph_three_deep(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    graph = inner_graph(tensor)
    for _ in range(2):
        node = helper.make_node("If", ["c"], ["d"], else_branch=graph)
        graph = helper.make_graph([node], "outer", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], else_branch=graph))


def in_sparse_values(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_sparse_indices(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def in_a_sparse_attribute(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = model.graph.node.add(op_type="Constant")
    node.attribute.add(name="sparse_value").sparse_tensor.values.CopyFrom(tensor)


def in_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    function = model.functions.add(name="f", domain="here")
    function.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_a_default_of_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    function = model.functions.add(name="f", domain="here")
    function.attribute_proto.add(name="value").t.CopyFrom(tensor)


def in_the_training_graph(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.training_info.add().algorithm.CopyFrom(inner_graph(tensor))


PLACES = [
    in_an_initializer,
    in_an_attribute,
    in_a_list_of_an_attribute,
    in_a_graph_of_an_attribute,
    in_a_list_of_graphs,
    in_a_graph_three_deep,
    in_sparse_values,
    in_sparse_indices,
    in_a_sparse_attribute,
    in_a_function,
    in_a_default_of_a_function,
    in_the_training_graph,
]


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_refused_wherever_a_tensor_can_be(
    place: Callable[[onnx.ModelProto, onnx.TensorProto], None],
) -> None:
    model = models.generator()
    place(model, numpy_helper.from_array(np.zeros(2, np.float32), "own"))
    scan(model.SerializeToString())
    place(model, external_tensor())
    with pytest.raises(ModelFileError, match="external data"):
        scan(model.SerializeToString())


@pytest.mark.parametrize("part", ["data_location", "external_data"])
def test_either_field_of_external_data_is_refused(part: str) -> None:
    model = models.generator()
    tensor = external_tensor()
    tensor.ClearField(part)
    model.graph.initializer.append(tensor)
    with pytest.raises(ModelFileError, match="external data"):
        scan(model.SerializeToString())


def test_external_data_in_a_second_copy_of_the_graph_is_refused() -> None:
    # Protocol Buffers merges fields that come twice.
    second = onnx.ModelProto(graph=inner_graph(external_tensor()))
    with pytest.raises(ModelFileError, match="external data"):
        scan(models.generator().SerializeToString() + second.SerializeToString())


def messages_with_tensors(descriptor: Any, seen: set[str]) -> Iterator[Any]:
    """Every field of ONNX's own schema, from ModelProto down."""
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    for field in descriptor.fields:
        yield field
        if field.message_type is not None:
            yield from messages_with_tensors(field.message_type, seen)


def test_no_field_of_the_schema_that_holds_tensors_is_overlooked() -> None:
    """The installed onnx package's schema against the scanner's table."""
    from wgan.model_file.onnx_scan import _CHILDREN

    holders = {"TensorProto": "Tensor", "SparseTensorProto": "SparseTensor"}
    holders |= {"GraphProto": "Graph", "NodeProto": "Node", "AttributeProto": "Attribute"}
    holders |= {"FunctionProto": "Function", "TrainingInfoProto": "Training"}
    holders |= {"ModelProto": "Model"}
    checked = 0
    for field in messages_with_tensors(onnx.ModelProto.DESCRIPTOR, set()):
        if field.message_type is not None and field.message_type.name in holders:
            parent = holders[field.containing_type.name]
            assert _CHILDREN[parent][field.number] == holders[field.message_type.name], field
            checked += 1
    assert checked >= 15


def test_metadata_and_producers_are_those_of_the_file() -> None:
    file = scan(models.generator(metadata=[("author", "me"), ("a", "")]).SerializeToString())
    assert file.metadata == {"author": b"me", "a": b""}
    assert file.producers["images"] == Producer("Tanh", "raw")
    assert file.producers["pixels"] == Producer("Transpose", "bytes")


def test_a_function_does_not_pass_for_the_main_graph() -> None:
    model = models.generator()
    function = model.functions.add(name="f", domain="here")
    function.node.append(helper.make_node("Sigmoid", ["x"], ["images"]))
    assert scan(model.SerializeToString()).producers["images"] == Producer("Tanh", "raw")


def test_a_repeated_metadata_key_is_refused() -> None:
    model = models.generator(metadata=[("a", "1"), ("a", "2")])
    with pytest.raises(ModelFileError, match="'a' more than once"):
        scan(model.SerializeToString())


def test_an_engine_from_another_file_is_refused() -> None:
    model = models.generator()
    model.graph.node.append(helper.make_node("EPContext", ["latents"], ["x"]))
    with pytest.raises(ModelFileError, match="EPContext"):
        scan(model.SerializeToString())


def test_a_file_nested_too_deep_is_refused() -> None:
    graph = inner_graph(numpy_helper.from_array(np.zeros(1), "x"))
    for _ in range(25):
        node = helper.make_node("If", ["c"], ["d"], else_branch=graph)
        graph = helper.make_graph([node], "outer", [], [])
    with pytest.raises(ModelFileError, match="messages deep"):
        scan(onnx.ModelProto(graph=graph).SerializeToString())


def test_a_file_of_countless_fields_is_refused() -> None:
    with pytest.raises(ModelFileError, match="more than 1000000 fields"):
        scan(b"\x08\x01" * 1_000_001)


def test_a_million_metadata_keys_are_refused() -> None:
    keys = b"".join(b"\x72\x09\x0a\x07%07d" % number for number in range(1_000_000))
    with pytest.raises(ModelFileError, match="more than 1000000 fields"):
        scan(models.generator().SerializeToString() + keys)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"\x0b", b"\x08", b"\x3a\x05abc", b"\xff" * 20, b"hello", b"\x08\x01"],
)
def test_bytes_that_are_not_onnx_are_refused(data: bytes) -> None:
    with pytest.raises(ModelFileError, match="not an ONNX file"):
        scan(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_accepted_or_refused(data: bytes) -> None:
    with contextlib.suppress(ModelFileError):
        scan(data)


def with_dropout(ratio: float | None, mode: Any, *, constant: bool = False) -> onnx.ModelProto:
    """A graph with a Dropout of this ratio and mode, initializers or outputs of Constant."""
    given = (
        {}
        if ratio is None
        else {"ratio": numpy_helper.from_array(np.array(ratio, np.float32), "ratio")}
    )
    if isinstance(mode, onnx.TensorProto):
        given["mode"] = mode
    nodes = [helper.make_node("Constant", [], [name], value=given[name]) for name in given]
    names = [name if name in given else "" for name in ("ratio", "mode")]
    graph = helper.make_graph(
        [*(nodes if constant else []), helper.make_node("Dropout", ["z", *names], ["y"])],
        "g",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [] if constant else list(given.values()),
    )
    return helper.make_model(graph)


@pytest.mark.parametrize("reader", ["none", "dead node", "node", "output", "branch", "function"])
def test_random_numbers_count_if_an_output_depends_on_them(reader: str) -> None:
    noise = helper.make_node("RandomNormal", [], ["noise"], shape=[3])
    model = models.generator()
    if reader == "branch":
        branch = helper.make_graph([noise], "branch", [], [onnx.ValueInfoProto(name="noise")])
        model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch))
    elif reader == "function":
        opset = helper.make_opsetid("", 17)
        model.functions.append(helper.make_function("f", "F", [], ["noise"], [noise], [opset]))
    else:
        model.graph.node.append(noise)
    if reader in ("node", "dead node"):
        model.graph.node.append(helper.make_node("Identity", ["noise"], ["more"]))
    if reader == "node":
        model.graph.output.append(onnx.ValueInfoProto(name="more"))
    elif reader == "output":
        model.graph.output.append(onnx.ValueInfoProto(name="noise"))
    found = scan(model.SerializeToString())
    assert found.draws == (set() if reader in ("none", "dead node") else {"RandomNormal"})


def test_outputs_and_inputs_that_are_left_out_do_not_connect_nodes() -> None:
    """As in a dead TopK whose values nothing reads, and a Resize by scales."""
    model = models.generator()
    model.graph.node.extend([
        helper.make_node("RandomNormal", [], ["noise"], shape=[3]),
        helper.make_node("TopK", ["noise", "k"], ["", "indices"]),
        helper.make_node("Resize", ["z", "", "scales"], ["more"]),
    ])  # fmt: skip
    model.graph.output.append(onnx.ValueInfoProto(name="more"))
    assert scan(model.SerializeToString()).draws == set()


def test_batch_norm_whose_statistics_are_left_out_is_not_in_training_mode() -> None:
    model = models.generator()
    inputs = ["z", "scale", "bias", "mean", "variance"]
    model.graph.node.append(helper.make_node("BatchNormalization", inputs, ["y", "", ""]))
    assert scan(model.SerializeToString()).trains == set()


def test_a_node_of_countless_outputs_and_inputs_is_read_once() -> None:
    model, names = models.generator(), [f"value{number}" for number in range(40_000)]
    model.graph.node.append(helper.make_node("RandomNormal", names[1:], names))
    model.graph.output.append(onnx.ValueInfoProto(name=names[0]))
    assert scan(model.SerializeToString()).draws == {"RandomNormal"}


TRUE = numpy_helper.from_array(np.array(True), "mode")
FALSE = numpy_helper.from_array(np.array(False), "mode")
TRUE_IN_INTEGERS = helper.make_tensor("mode", TensorProto.BOOL, [], [True])


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("ratio", "mode", "expected"),
    [
        (0.5, TRUE, {"dropout"}),
        (0.5, TRUE_IN_INTEGERS, {"dropout"}),
        (None, TRUE, {"dropout"}),  # of one half by default
        (0.0, TRUE, set()),
        (0.5, FALSE, set()),
        (0.5, None, set()),
    ],
)
def test_dropout_in_training_mode_is_found(
    ratio: float | None, mode: Any, expected: set[str], constant: bool
) -> None:
    model = with_dropout(ratio, mode, constant=constant)
    assert scan(model.SerializeToString()).trains == expected


def test_dropout_in_training_mode_is_found_in_a_branch() -> None:
    model = with_dropout(0.5, TRUE, constant=True)
    nodes = list(model.graph.node)
    branch = helper.make_graph(nodes, "branch", [], [onnx.ValueInfoProto(name="y")])
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=branch))
    assert scan(model.SerializeToString()).trains == {"dropout"}
