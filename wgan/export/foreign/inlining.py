"""Weights in a second file beside a model, brought into the model.

`torch.onnx.export` writes weights to a file beside the model by default, which the model names. The
name comes from the model, which may come from a stranger: only a regular file inside the model's
own folder is read.
"""

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from wgan.errors import ModelFileError
from wgan.model_file.external_data import external_file
from wgan.model_file.reading import read_bytes


def inline_external_data(model: ModelProto, path: Path) -> None:
    """Read the weights of `model`, the file at `path`, that are in files beside it.

    Raises:
        ModelFileError: a file is missing, shorter than the model says, or outside the folder.
    """
    files: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        if info.location not in files:
            files[info.location] = read_bytes(external_file(path, info.location))
        start, content = info.offset or 0, files[info.location]
        length = len(content) - start if info.length is None else info.length
        if not 0 <= start <= start + length <= len(content):
            raise ModelFileError(
                f"{path} cannot be used: its weights {tensor.name[:60]} lie beyond the end of"
                f" {info.location[:60]}, which has {len(content)} bytes"
            )
        tensor.raw_data = content[start : start + length]
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in (attribute.g, *attribute.graphs):
            yield from _graph_tensors(graph)
