"""A batch that an exporter froze to one size, made free.

Such a file has the size of the batch in the shapes of Reshape and Expand. Shape inference with
another size, a prime, finds the axes that hold the batch: those that it divides.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wgan.errors import ExportError, translated_errors
from wgan.export.lowering.calibration import feed, open_session
from wgan.export.lowering.graph import AnyArray, Shape, infer_shapes
from wgan.model_file.graph_inputs import Inputs

OTHER_BATCH = 7919
"""A size of the batch that no other axis is a multiple of."""

SHAPE_SIZE = 64
"""Most numbers of a constant whose values shape inference needs."""

BINARY = ("Add", "Div", "Mul", "Sub")


def free_batch(model: ModelProto, inputs: Inputs) -> ModelProto:
    """Take the size of the batch out of shapes, and out of constants that repeat a row for it."""
    if inputs.batch is None:
        return model
    return _Freeing(model, inputs, inputs.batch).run()


@contextmanager
def frozen_batch_errors(batch: int | None) -> Iterator[None]:
    """Say how to export a file whose frozen batch cannot be freed."""
    try:
        yield
    except ExportError as exc:
        if batch is None:
            raise
        raise ExportError(
            f"the file is frozen to batches of {batch}, and its graph cannot be rewritten for"
            " others: export it with a dynamic batch axis (dynamic_axes or dynamic_shapes of"
            " torch.onnx.export)"
        ) from exc


def check_freed(model: ModelProto, batch: int | None, classes: int) -> None:
    """Raise ExportError unless a graph in wgan's form gives the same image in other batches."""
    if batch is None:
        return
    several = range(2 if batch == 3 else 3)
    with translated_errors(lambda _: ExportError("the graph fails on other batches")):
        session = open_session(model)
        images, single = (
            session.run(["images"], feed(model, seeds, min(1, classes)))[0]
            for seeds in (several, several[:1])
        )
    if not np.allclose(images[:1], single, atol=1e-3, equal_nan=True):
        raise ExportError("an image depends on its batch")


class _Freeing:
    """Rewrites the nodes in order: what a node reads has a free batch already."""

    def __init__(self, model: ModelProto, inputs: Inputs, batch: int) -> None:
        self._model = copy.deepcopy(model)
        self._batch_axes = {inputs.latents.name: inputs.batch_axis}
        self._batch_axes |= {each.value.name: 0 for each in inputs.fixed if each.per_image}
        if inputs.labels is not None:
            self._batch_axes[inputs.labels.value.name] = 0
        self._batch = batch
        self._constants = _constants(model)
        self._names = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self._shapes: Mapping[str, Shape] = {}

    def run(self) -> ModelProto:
        self._infer()
        for node in self._model.graph.node:
            if self._rewrite(node):
                self._infer()
        return self._model

    def _rewrite(self, node: NodeProto) -> bool:
        """Free the batch in one node; whether it was in there."""
        if node.op_type in BINARY:
            return self._share_row(node, 0, 1) or self._share_row(node, 1, 0)
        if node.op_type not in ("Reshape", "Expand") or node.input[1] not in self._constants:
            return False
        source = self._shapes.get(node.input[0], ())
        axes = [axis for axis, size in enumerate(source) if _is_batch(size)]
        if len(axes) != 1 or None in source:
            return False
        sizes = self._constants[node.input[1]].tolist()
        known = [size or 0 for size in source]
        find = _freed_expand if node.op_type == "Expand" else _freed_reshape
        zero_is_a_size = any(entry.i for entry in node.attribute if entry.name == "allowzero")
        if zero_is_a_size and 0 in sizes:
            return False
        freed = find(sizes, known, axes[0], self._batch)
        if freed is None or freed == sizes:
            return False
        if zero_is_a_size:  # PyTorch's exporter sets it always; a 0 in `freed` keeps an axis
            kept = [entry for entry in node.attribute if entry.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
        node.input[1] = self._constant(np.array(freed, np.int64), node.input[1])
        return True

    def _share_row(self, node: NodeProto, index: int, other: int) -> bool:
        """Keep one row of a constant that an exporter has repeated for each image."""
        value = self._constants.get(node.input[index])
        shape = self._shapes.get(node.input[other], ())
        if value is None or value.ndim != len(shape) or not shape or not _is_batch(shape[0]):
            return False
        if self._batch == 1 or len(value) != self._batch or (value != value[:1]).any():
            return False
        node.input[index] = self._constant(value[:1], node.input[index])
        return True

    def _constant(self, value: AnyArray, name: str) -> str:
        """Add a constant: other nodes may read the old one."""
        while (name := f"{name}_free") in self._names:
            pass
        self._names.add(name)
        self._constants[name] = value
        self._model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _infer(self) -> None:
        """Infer all shapes at the other batch."""
        probe = copy.deepcopy(self._model)
        graph = probe.graph
        del graph.output[:], graph.value_info[:], graph.initializer[:]
        for value in graph.input:
            if value.name in self._batch_axes:
                axis = value.type.tensor_type.shape.dim[self._batch_axes[value.name]]
                axis.dim_value = OTHER_BATCH
        declared = {value.name for value in graph.input}
        for tensor in self._model.graph.initializer:
            if math.prod(tensor.dims) <= SHAPE_SIZE:
                graph.initializer.append(tensor)
            elif tensor.name not in declared:  # a weight: its shape is enough
                graph.input.append(
                    helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
        self._shapes = infer_shapes(probe)


def _constants(model: ModelProto) -> dict[str, AnyArray]:
    """The values of initializers and of Constant."""
    found: list[tuple[str, TensorProto]] = [(each.name, each) for each in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            found += [(node.output[0], entry.t) for entry in node.attribute if entry.HasField("t")]
    return {name: numpy_helper.to_array(tensor) for name, tensor in found}


def _is_batch(size: int | None) -> bool:
    return bool(size) and size is not None and size % OTHER_BATCH == 0


def _freed_expand(
    sizes: Sequence[int], source: Sequence[int], axis: int, batch: int
) -> list[int] | None:
    """The shape of Expand whose 1 keeps the batch of `source`, which is its axis `axis`."""
    index = axis + len(sizes) - len(source)
    return None if index < 0 else [*sizes[:index], 1, *sizes[index + 1 :]]


def _freed_reshape(
    sizes: Sequence[int], source: Sequence[int], axis: int, batch: int
) -> list[int] | None:
    """The shape of Reshape with 0 or -1 for the axis that holds the batch; None if none does."""
    frozen = [size // OTHER_BATCH * batch if _is_batch(size) else size for size in source]
    target = [
        frozen[index] if size == 0 and index < len(frozen) else size
        for index, size in enumerate(sizes)
    ]
    if -1 in target:
        rest = -math.prod(target)
        target[target.index(-1)] = math.prod(frozen) // rest if rest else 0
    if math.prod(target) != math.prod(frozen):
        return None
    # An axis may hold the batch and others: (batch, heads) or (tokens, batch).
    before = math.prod(frozen[:axis])
    starts = {before, before * (frozen[axis] // batch)}
    index = _batch_index(target, sorted(starts), batch)
    if index is None:
        return None
    copied = index == axis and target[index] == frozen[axis]
    target[index] = 0 if copied else -1
    return target


def _batch_index(target: Sequence[int], starts: Sequence[int], batch: int) -> int | None:
    """The axis of `target` that holds the batch, which begins after one of `starts` numbers."""
    offsets = [math.prod(target[:index]) for index in range(len(target))]
    axes = list(zip(range(len(target)), offsets, target, strict=True))
    last = len(target) - 1
    exact = [i for i, offset, size in axes if offset in starts and size == batch]
    multiple = [
        i
        for i, offset, size in axes
        # The last axis of several is features, not the batch.
        if offset in starts and size % batch == 0 and (i < last or i == 0)
    ]
    inside = [
        i
        for i, offset, size in axes
        if size % batch == 0 and any(offset <= start <= offset * size for start in starts)
    ]
    return next(iter([*exact, *multiple, *inside]), None)
