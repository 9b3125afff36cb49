"""What a generator from another project takes and gives: latents, other inputs, images."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from wgan.errors import ExportError, UsageError
from wgan.export.lowering.graph import AnyArray
from wgan.model_file.onnx_scan import scan
from wgan.model_file.value_range import RANDOM, ValueRange, inferred_range
from wgan.text import shorten

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)

INTEGERS = (TensorProto.INT64, TensorProto.INT32)

CHANNELS = (1, 2, 3, 4)
"""Channels that an axis of images may have."""

SCALAR_BYTES = 8
"""Bytes of a constant that may be one number."""

LABEL_NAME = re.compile(r"^(c|y|cls|.*(label|class|one_?hot|cond).*)$", re.IGNORECASE)
"""Names of inputs that hold a class, in public code."""


@dataclass(frozen=True)
class Value:
    """An input or output of a graph."""

    name: str
    type: int  # TensorProto.DataType
    shape: tuple[int | None, ...]  # None: a free axis

    @classmethod
    def of(cls, info: ValueInfoProto) -> "Value":
        """Read a graph's declaration."""
        kind = info.type.tensor_type
        return cls(
            info.name,
            kind.elem_type,
            tuple(
                axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim
            ),
        )

    @property
    def dtype(self) -> Any:
        """Numpy's type."""
        return helper.tensor_dtype_to_np_dtype(self.type)

    def __str__(self) -> str:
        name = TensorProto.DataType.Name(self.type).lower()
        axes = ", ".join("n" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name[:60]} {name} [{axes}]"


@dataclass(frozen=True)
class Request:
    """What the user says of a file: `--latents`, `--input`, `--class`, `--output`, ..."""

    latents: tuple[int, ...] = ()  # axes of one image's latents; (): as the file says
    inputs: Mapping[str, str] = field(default_factory=dict)  # name -> value, as text
    label: int | None = None
    output: str | None = None
    value_range: ValueRange | None = None
    flat: bool = False  # whether the shape of flat images is given


@dataclass(frozen=True)
class Interface:
    """The latents, the other inputs and the images of a generator."""

    latents: Value
    axes: tuple[int, ...]  # of one image's latents, as the file takes them
    batch_axis: int  # of the latents; 0 unless the file has its batch last
    batch: int | None  # the size to which the batch is frozen
    fixed: Mapping[str, AnyArray]  # other inputs -> their value; the batch axis has the size 1
    per_image: frozenset[str]  # of these, those that have a batch axis
    output: Value
    value_range: ValueRange | None  # None for uint8
    in_float16: bool  # whether the file computes in 16 bits

    @property
    def latent_dim(self) -> int:
        """Numbers in one image's latents."""
        return math.prod(self.axes)


def read_interface(model: ModelProto, request: Request) -> Interface:
    """Find latents and images among the inputs and outputs of a graph.

    Raises:
        ExportError: it is not a generator of images, or draws random numbers.
        UsageError: an option is needed, or contradicts the graph.
    """
    check_operators(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [Value.of(info) for info in model.graph.input if info.name not in constants]
    outputs = [Value.of(info) for info in model.graph.output]
    others = _given(inputs, request)
    latents = _find_latents([value for value in inputs if value.name not in others], request)
    axes, batch_axis = _latent_axes(latents, request)
    batch = latents.shape[batch_axis]
    fixed, per_image = {}, set()
    for value in inputs:
        if value.name in others:
            array, has_batch = _fixed_value(value, others[value.name], batch)
            fixed[value.name] = array
            per_image |= {value.name} if has_batch else set()
    output = _find_output(outputs, request, model)
    value_range = None if output.type == TensorProto.UINT8 else _range(model, output, request)
    kinds = {latents.type, output.type, *(tensor.data_type for tensor in model.graph.initializer)}
    return Interface(
        latents=latents,
        axes=axes,
        batch_axis=batch_axis,
        batch=batch,
        fixed=fixed,
        per_image=frozenset(per_image),
        output=output,
        value_range=value_range,
        in_float16=bool(kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16}),
    )


def check_operators(model: ModelProto) -> None:
    """Raise ExportError for operators that would break what a seed promises."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"the file uses the operator {node.op_type} of {node.domain}, which only some"
                " runtimes have: export it with ONNX's own operators"
            )
        training = {entry.name: entry.i for entry in node.attribute}.get("training_mode", 0)
        if node.op_type == "BatchNormalization" and (training or len(node.output) > 1):
            raise ExportError(
                "the file has batch norm in training mode, so that an image would depend on the"
                " other images of its batch: export it after  model.eval()"
            )
        if node.op_type in RANDOM:
            raise ExportError(
                f"the file draws random numbers itself ({node.op_type}), so that an image would"
                " depend on more than its seed: export it with this noise fixed, or as an input"
                " that  --input NAME=0  can set"
            )


def _given(inputs: Sequence[Value], request: Request) -> dict[str, str]:
    """The texts of the inputs that the user fixes, by name."""
    names = [value.name for value in inputs]
    for name in request.inputs:
        if name not in names:
            raise UsageError(f"--input {name}: the file has no such input, only {_list(inputs)}")
    given = dict(request.inputs)
    if request.label is not None:
        labels = [
            value
            for value in inputs
            if value.name not in given
            and (value.type in INTEGERS or (len(inputs) > 1 and LABEL_NAME.match(value.name)))
        ]
        if len(labels) != 1:
            raise UsageError(
                f"--class {request.label}: the file has no input that is clearly a class, only"
                f" {_list(inputs)}; give  --input NAME=VALUE"
            )
        given[labels[0].name] = _class_text(labels[0], request.label)
    return given


def _class_text(value: Value, label: int) -> str:
    if value.type in INTEGERS:
        return str(label)
    classes = value.shape[-1] if value.shape else None
    if classes is None or not 0 <= label < classes:
        raise UsageError(f"--class {label}: the input {value} has no such class")
    return ",".join("1" if index == label else "0" for index in range(classes))


def _find_latents(inputs: Sequence[Value], request: Request) -> Value:
    if not inputs:
        raise ExportError(
            "the file has no input of latents: it draws them itself, so that no seed could choose"
            " its images. Export the generator with its latents as an input"
        )
    found = [value for value in inputs if value.type in FLOATS and len(value.shape) >= 1]
    # Latents are longer than scalars, and have no large map of noise.
    plain = [value for value in found if len(value.shape) > 1 and not LABEL_NAME.match(value.name)]
    plain = [value for value in plain if len(value.shape) < 4 or set(value.shape[2:]) <= {1, None}]
    chosen = plain or (found if len(inputs) == 1 else [])
    if len(chosen) != 1 or len(inputs) > 1:
        rest = [value for value in inputs if not chosen or value != chosen[0]]
        options = " ".join(f"--class K (for {v.name})" if v.type in INTEGERS or
                           LABEL_NAME.match(v.name) else f"--input {v.name}=VALUE"
                           for v in rest)  # fmt: skip
        raise UsageError(
            f"the file has the inputs {_list(inputs)}, and only latents vary with the seed: fix the"
            f" others with  {options}"
        )
    return chosen[0]


def _latent_axes(latents: Value, request: Request) -> tuple[tuple[int, ...], int]:
    """Axes of one image's latents, and which axis is the batch."""
    shape = latents.shape
    if len(shape) < 2:
        raise ExportError(
            f"the file's latents are {latents}, for one image at a time: export it with latents"
            " [n, z], so that it can draw batches"
        )
    if request.latents:
        declared = shape[1:]
        if len(declared) != len(request.latents) or any(
            axis not in (None, size) for axis, size in zip(declared, request.latents, strict=True)
        ):
            shown = "x".join(map(str, request.latents))
            raise UsageError(f"--latents {shown} does not fit the file's input {latents}")
        return request.latents, 0
    if len(shape) == 2 and shape[1] is None and shape[0] is not None:
        return (shape[0],), 1
    axes = [axis for axis in shape[1:] if axis is not None]
    if len(axes) < len(shape) - 1:
        raise UsageError(
            f"the file does not say how long its latents are ({latents}): give it, as in"
            "  --latents 100x1x1"
        )
    return tuple(axes), 0


def _fixed_value(value: Value, text: str, batch: int | None) -> tuple[AnyArray, bool]:
    """A fixed input's value, and whether it has a batch axis, which has the size 1 here."""
    has_batch = bool(value.shape) and value.shape[0] in (None, batch)
    shape = (1, *value.shape[1:]) if has_batch else value.shape
    if None in shape:
        raise UsageError(f"--input {value.name}: the file does not say how large {value} is")
    try:
        array = _parse(text).astype(value.dtype)
        # One number fills the input; several are its last axis.
        return np.ascontiguousarray(np.broadcast_to(array, shape)), has_batch  # type: ignore[arg-type]
    except (ValueError, OSError) as exc:
        raise UsageError(
            f"--input {value.name}={shorten(text, 40)} does not fit {value}: write a number,"
            " numbers as in 0,1,0, or the name of a .npy file"
        ) from exc


def _parse(text: str) -> AnyArray:
    if text.endswith(".npy"):
        loaded: AnyArray = np.load(Path(text), allow_pickle=False)
        return loaded
    numbers = [float(part) for part in text.split(",")]
    return np.array(numbers[0] if len(numbers) == 1 else numbers)


def _find_output(outputs: Sequence[Value], request: Request, model: ModelProto) -> Value:
    if request.output is not None:
        named = [value for value in outputs if value.name == request.output]
        if not named:
            raise UsageError(
                f"--output-name {request.output}: the file has no such output, only"
                f" {_list(outputs)}"
            )
        return named[0]
    floats = [v for v in outputs if v.type in FLOATS and _may_be_images(v, request.flat)]
    whole = [v for v in outputs if v.type == TensorProto.UINT8 and _may_be_images(v, request.flat)]
    found = floats or whole
    colours = [value for value in found if 3 in value.shape[1:]]
    found = colours if len(found) > 1 else found
    if len(found) == 1:
        return found[0]
    if not found:
        raise ExportError(
            f"the file has no output that is clearly images, [n, c, h, w], [n, h, w, c] or"
            f" [n, h, w]: only {_list(outputs)}. Say what flat images are with  --image-shape"
            " HEIGHTxWIDTHxCHANNELS"
        )
    raise UsageError(
        f"the file has several outputs that could be its images: {_list(found)}. Choose one with"
        "  --output-name NAME"
    )


def _may_be_images(value: Value, flat: bool) -> bool:
    if flat and len(value.shape) == 2:
        return True
    if len(value.shape) == 3:
        return value.shape[1] not in CHANNELS
    is_map = len(value.shape) == 4
    return is_map and (value.shape[1] in CHANNELS or value.shape[3] in CHANNELS)


def find_range(model: ModelProto, name: str) -> ValueRange | None:
    """The range of the value `name`, or None if the graph does not tell it."""
    small = ModelProto()  # large constants are weights, and tell nothing
    small.CopyFrom(model)
    for tensor in small.graph.initializer:
        if len(tensor.raw_data) > SCALAR_BYTES:
            tensor.ClearField("raw_data")
    found = scan(small.SerializeToString(), allow_unsafe=True)
    return inferred_range(name, found.producers)


def _range(model: ModelProto, output: Value, request: Request) -> ValueRange:
    known, given = find_range(model, output.name), request.value_range
    if known is not None and given is not None and known != given:
        raise UsageError(
            f"--value-range {given[0]:g},{given[1]:g} is not allowed: the file's images have the"
            f" range {known[0]:g},{known[1]:g}"
        )
    if known is None and given is None:
        raise UsageError(
            f"the range of the file's output {output.name[:60]} is unknown: give the values of"
            " black and white, as in  --value-range=-1,1"
        )
    return known or given or (-1.0, 1.0)


def _list(values: Sequence[Value]) -> str:
    return ", ".join(map(str, values[:6])) or "none"
