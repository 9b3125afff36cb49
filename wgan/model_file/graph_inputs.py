"""What a generator from another project takes: latents, labels, other inputs.

It is found in the inputs that the graph declares, and in `ForeignOptions` where these do not say
enough. Nothing is run and no weight is read; `image_outputs.py` does the same for outputs.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from wgan.errors import ModelFileError, UsageError
from wgan.model_file import LATENT_DIM_LIMIT
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.onnx_scan import Axis, ValueInfo

FLOATS = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
    "tensor(bfloat16)": "bfloat16",
}  # fmt: skip
"""ONNX Runtime's names of the float types, and NumPy's."""

INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}

BATCH_LIMIT = 4096
"""Largest batch size that a graph may be frozen to; each run is padded to it."""

CLASSES_LIMIT = 2**20
"""Most classes of a label."""

LABEL_NAME = re.compile(r"^(c|y|cls|.*(label|class|one_?hot|cond).*)$", re.IGNORECASE)
"""Names of inputs that hold a class, in public code."""


@dataclass(frozen=True)
class LabelInput:
    """An input that takes the class of each image."""

    value: ValueInfo
    classes: int
    one_hot: bool  # [n, classes] rather than indices [n]


@dataclass(frozen=True)
class FixedInput:
    """An input with one value for all images."""

    value: ValueInfo
    text: str  # as the user wrote it
    per_image: bool  # whether the first axis is the batch

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Its axes, a batch of size 1."""
        return (1, *self.value.shape[1:]) if self.per_image else self.value.shape


@dataclass(frozen=True)
class Inputs:
    """What a generator takes."""

    latents: ValueInfo
    axes: tuple[int, ...]  # of one image's latents, as the file takes them
    batch_axis: int = 0  # of the latents; 1 if the file has its batch last
    batch: int | None = None  # the size to which the batch is frozen
    labels: LabelInput | None = None
    fixed: tuple[FixedInput, ...] = ()

    @property
    def latent_dim(self) -> int:
        """Numbers in one image's latents."""
        return math.prod(self.axes)


def list_values(values: Sequence[ValueInfo]) -> str:
    """List inputs or outputs for a message."""
    shown = [str(value) for value in values[:4]]
    more = [f"and {len(values) - 4} more"] if len(values) > 4 else []
    return ", ".join([*shown, *more]) or "none"


def find_inputs(
    inputs: Sequence[ValueInfo], options: ForeignOptions, embeddings: Mapping[str, int]
) -> Inputs:
    """Find the latents, the labels and what is fixed among a graph's inputs.

    `embeddings` are the numbers of rows of the tables that inputs choose from.

    Raises:
        ModelFileError: there are no latents, they cannot be drawn in batches, or an input is text.
        UsageError: an option is needed, or contradicts the graph.
    """
    for value in inputs:
        if value.type == "tensor(string)":
            raise ModelFileError(f"its input {value} takes text: only numbers can be given")
    labels = _label_input(inputs, options, embeddings)
    texts = _fixed_texts(inputs, options, labels)
    kept = {labels.value.name} if labels is not None else set()
    free = [value for value in inputs if value.name not in texts and value.name not in kept]
    latents = _find_latents(free, inputs)
    axes, batch_axis = _latent_axes(latents, options)
    size = latents.shape[batch_axis]
    batch = size if isinstance(size, int) else None
    batch_fits = batch is None or 1 <= batch <= BATCH_LIMIT
    if not (1 <= math.prod(axes) <= LATENT_DIM_LIMIT and batch_fits):
        raise ModelFileError(
            f"its latents {latents} are not allowed: 1 to {LATENT_DIM_LIMIT} numbers for each"
            f" image, and a batch of at most {BATCH_LIMIT}"
        )
    fixed = tuple(
        FixedInput(value, texts[value.name], _has_batch(value, batch))
        for value in inputs
        if value.name in texts
    )
    return Inputs(latents, axes, batch_axis, batch, labels, fixed)


def _has_batch(value: ValueInfo, batch: int | None) -> bool:
    return bool(value.shape) and (not isinstance(value.shape[0], int) or value.shape[0] == batch)


def split_label_input(text: str, names: Collection[str]) -> tuple[str, int]:
    """Split `"NAME:COUNT"`; the count is 0 if it is not given. A name may end in `:0` itself."""
    name, colon, count = text.rpartition(":")
    if text in names or not colon or not count.isdecimal() or len(count) > 8:
        return text, 0
    return name, int(count)


def _label_input(
    inputs: Sequence[ValueInfo], options: ForeignOptions, embeddings: Mapping[str, int]
) -> LabelInput | None:
    """The input that --label-input names, and its classes. Raises UsageError."""
    if options.label_input is None:
        return None
    if options.fixed_class is not None:
        raise UsageError("--label-input keeps the label, --class fixes it: give one of them")
    names = {value.name: value for value in inputs}
    text, count = split_label_input(options.label_input, names)
    if text not in names:
        raise UsageError(
            f"--label-input {options.label_input}: the file has no such input, only"
            f" {list_values(inputs)}"
        )
    value = names[text]
    size = value.shape[1] if len(value.shape) == 2 else None
    one_hot = len(value.shape) == 2 and size != 1
    fits = value.type in INTEGERS or (one_hot and value.type in FLOATS)
    if not fits or len(value.shape) not in (1, 2):
        raise UsageError(
            f"--label-input {text}: {value} is neither an index for each image, whole numbers [n],"
            " nor one-hot, [n, classes]"
        )
    known = (size if isinstance(size, int) else None) if one_hot else embeddings.get(text)
    classes = count or known
    if classes is None:
        raise UsageError(
            f"--label-input {text}: the file does not say how many classes it has; give it, as in"
            f"  --label-input {text}:10"
        )
    if not 1 <= classes <= CLASSES_LIMIT or (known is not None and classes > known):
        raise UsageError(
            f"--label-input {text}:{classes} is not allowed: it has {known or CLASSES_LIMIT}"
            " classes at most"
        )
    if one_hot and known is not None and classes != known:
        raise UsageError(f"--label-input {text}:{classes} does not fit {value}")
    return LabelInput(value, classes, one_hot)


def _fixed_texts(
    inputs: Sequence[ValueInfo], options: ForeignOptions, labels: LabelInput | None
) -> dict[str, str]:
    """Name -> value, as text, of the inputs that the user fixes."""
    given = options.given_inputs
    names = [value.name for value in inputs]
    for name in given:
        if name not in names:
            raise UsageError(
                f"--input {name}: the file has no such input, only {list_values(inputs)}"
            )
        if labels is not None and name == labels.value.name:
            raise UsageError(f"--label-input keeps {name}, --input fixes it: give one of them")
    if options.fixed_class is None:
        return given
    found = [value for value in inputs if value.name not in given and _may_be_label(value, inputs)]
    if len(found) != 1:
        raise UsageError(
            f"--class {options.fixed_class}: the file has no input that is clearly a class, only"
            f" {list_values(inputs)}; give  --input NAME=VALUE"
        )
    return given | {found[0].name: _class_text(found[0], options.fixed_class)}


def _may_be_label(value: ValueInfo, inputs: Sequence[ValueInfo]) -> bool:
    is_named = len(inputs) > 1 and bool(LABEL_NAME.match(value.name))
    return value.type in INTEGERS or (value.type in FLOATS and is_named)


def _class_text(value: ValueInfo, label: int) -> str:
    classes = value.shape[-1] if len(value.shape) > 1 else None
    if value.type in INTEGERS and classes in (None, 1):
        return str(label)
    if not isinstance(classes, int) or not 0 <= label < classes <= CLASSES_LIMIT:
        raise UsageError(f"--class {label}: the input {value} has no such class")
    return ",".join("1" if index == label else "0" for index in range(classes))


def _find_latents(free: Sequence[ValueInfo], inputs: Sequence[ValueInfo]) -> ValueInfo:
    if not inputs:
        raise ModelFileError(
            "it has no input of latents: it draws them itself, so that no seed could choose its"
            " images. Export the generator with its latents as an input"
        )
    found = [value for value in free if value.type in FLOATS and value.shape]
    # Latents are longer than scalars, and have no large map of noise.
    plain = [value for value in found if len(value.shape) > 1 and not LABEL_NAME.match(value.name)]
    plain = [
        value
        for value in plain
        if len(value.shape) < 4 or all(not isinstance(axis, int) or axis == 1
                                       for axis in value.shape[2:])
    ]  # fmt: skip
    chosen = plain or (found if len(free) == 1 else [])
    if len(chosen) == len(free) == 1:
        return chosen[0]
    if not found:
        raise ModelFileError(
            f"it is not a generator: no float input of latents, [n, z] or [n, z, 1, 1], among its"
            f" inputs {list_values(inputs)}"
        )
    rest = [value for value in free if value != chosen[0]] if chosen else list(free)
    hints = " ".join(
        f"--class K (for {value.name}; or keep it: --label-input {value.name})"
        if _may_be_label(value, inputs)
        else f"--input {value.name}=VALUE"
        for value in rest[:8]
    )
    raise UsageError(
        f"the file has the inputs {list_values(inputs)}, and only latents vary with the seed: fix"
        f" the others with  {hints}"
    )


def _latent_axes(latents: ValueInfo, options: ForeignOptions) -> tuple[tuple[int, ...], int]:
    """Axes of one image's latents, and which axis is the batch."""
    shape = latents.shape
    if len(shape) < 2:
        raise ModelFileError(
            f"its latents are {latents}, for one image at a time: export it with latents [n, z], so"
            " that it can draw batches"
        )
    wanted = options.latent_shape
    if wanted is not None:
        declared = shape[1:]
        if len(declared) != len(wanted) or any(
            isinstance(axis, int) and axis != size
            for axis, size in zip(declared, wanted, strict=True)
        ):
            shown = "x".join(map(str, wanted))
            raise UsageError(f"--latent-shape {shown} does not fit the file's input {latents}")
        return wanted, 0
    if len(shape) == 2 and not isinstance(shape[1], int) and isinstance(shape[0], int):
        return (shape[0],), 1
    axes = tuple(axis for axis in shape[1:] if isinstance(axis, int))
    if len(axes) < len(shape) - 1:
        raise UsageError(
            f"the file does not say how long its latents are ({latents}): give it, as in"
            "  --latent-shape 100x1x1"
        )
    return axes, 0
