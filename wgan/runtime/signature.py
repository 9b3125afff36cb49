"""What goes into a generator's graph and what comes out, read from the graph itself.

wgan's own exports take `latents` `[n, latent_dim]` and give `images` and `pixels`. A generator from
elsewhere is taken as well where its graph says enough: one input that can only be latents, and one
output that can only be images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from wgan.errors import ModelFileError, UsageError
from wgan.model_file.manifest import Manifest
from wgan.model_file.onnx_scan import Producer
from wgan.runtime.image_output import ImageOutput, Layout, ValueRange

LATENTS, IMAGES, PIXELS = "latents", "images", "pixels"
"""The names in wgan's own exports."""

Axis = int | str | None
"""A number, or a text or None where it is free."""

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
"""ONNX Runtime's names of the float types, and numpy's."""

UINT8 = "tensor(uint8)"

RANGES: Mapping[str, ValueRange] = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0)}
"""Operators that, when they make the images, tell the range."""

BATCH_LIMIT = 4096
"""A batch size that a graph is frozen to may be so large; each run fills it up."""

LATENT_DIM_LIMIT = 2**20
"""So many numbers may make a latent."""

SIDE_LIMIT = 2**14
"""Height and width of an image may be so large."""

MOVING = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that leave the values of their first input as they are."""

EXPECTED = (
    "one float input of latents, [n, z] or [n, z, 1, 1], and one output of images, float or uint8,"
    " [n, c, h, w] or [n, h, w, c] with 1 or 3 channels"
)


@dataclass(frozen=True)
class Value:
    """An input or output of a graph: its name, its element type and its axes."""

    name: str
    type: str  # as ONNX Runtime writes it: "tensor(float)"
    shape: tuple[Axis, ...]

    @classmethod
    def of(cls, argument: Any) -> Self:
        """Read one of `InferenceSession.get_inputs()` or `get_outputs()`."""
        return cls(argument.name, argument.type, tuple(argument.shape))

    def __str__(self) -> str:
        axes = ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name[:60]} {self.type} [{axes}]"


@dataclass(frozen=True)
class LatentInput:
    """The input that takes the latents."""

    name: str
    type: str  # numpy's name of it
    latent_dim: int
    spatial: bool  # [n, z, 1, 1] rather than [n, z]
    batch: int | None  # None where it is free


@dataclass(frozen=True)
class Signature:
    """A generator's interface; at least one of `images` and `pixels` is there."""

    latents: LatentInput
    images: ImageOutput | None
    pixels: ImageOutput | None
    height: int | None  # None where the graph does not say
    width: int | None
    channels: int


def read_signature(
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    producers: Mapping[str, Producer],
    manifest: Manifest | None,
    value_range: ValueRange | None,
) -> Signature:
    """Find the latents and the images among a graph's inputs and outputs.

    Args:
        inputs: the graph's inputs.
        outputs: its outputs.
        producers: value -> what makes it.
        manifest: what the file says of itself, if it does.
        value_range: the values of black and white in float images, where the caller knows.

    Raises:
        ModelFileError: the graph is not a generator's, or not the one that the manifest tells of.
        UsageError: the range of the images cannot be known, or is given and there is none.
    """
    latents = _find_latents(inputs, outputs)
    floats = _find_images(inputs, outputs, tuple(FLOATS))
    whole = _find_images(inputs, outputs, (UINT8,))
    found = floats or whole
    if found is None:
        raise ModelFileError(_not_a_generator(inputs, outputs))
    images, pixels = None, None
    if floats is not None:
        value_range = _range(floats[0], producers, manifest, value_range)
        images = ImageOutput(floats[0].name, floats[1], value_range)
    if whole is not None:
        pixels = ImageOutput(whole[0].name, whole[1], None)
    signature = Signature(latents, images, pixels, *_image_axes(*found))
    if manifest is not None:
        _compare(signature, manifest)
    return signature


def check_sides(height: int, width: int) -> None:
    """Raise ModelFileError unless images of this size are drawn."""
    if not (1 <= height <= SIDE_LIMIT and 1 <= width <= SIDE_LIMIT):
        raise ModelFileError(
            f"its images are {width} wide and {height} high: 1 to {SIDE_LIMIT} are allowed"
        )


def _image_axes(value: Value, layout: Layout) -> tuple[int | None, int | None, int]:
    """Height and width, None where they are free, and channels."""
    axes = value.shape[1:] if layout == "nchw" else (value.shape[3], *value.shape[1:3])
    channels, height, width = axes
    assert isinstance(channels, int)  # _layout looked at it
    if isinstance(height, int) and isinstance(width, int):
        check_sides(height, width)
        return height, width, channels
    return None, None, channels


def _find_latents(inputs: Sequence[Value], outputs: Sequence[Value]) -> LatentInput:
    if len(inputs) == 1 and inputs[0].type in FLOATS:
        name, shape = inputs[0].name, inputs[0].shape
        spatial = len(shape) == 4 and shape[2:] == (1, 1)
        if (spatial or len(shape) == 2) and isinstance(shape[1], int):
            batch = shape[0] if isinstance(shape[0], int) else None
            if 1 <= shape[1] <= LATENT_DIM_LIMIT and (batch is None or 1 <= batch <= BATCH_LIMIT):
                return LatentInput(name, FLOATS[inputs[0].type], shape[1], spatial, batch)
    raise ModelFileError(_not_a_generator(inputs, outputs))


def _find_images(
    inputs: Sequence[Value], outputs: Sequence[Value], types: tuple[str, ...]
) -> tuple[Value, Layout] | None:
    """The one output of these types that can be images."""
    found = [
        (value, layout)
        for value in outputs
        if value.type in types and (layout := _layout(value.shape)) is not None
    ]
    if len(found) > 1:
        raise ModelFileError(_not_a_generator(inputs, outputs))
    return found[0] if found else None


def _layout(shape: Sequence[Axis]) -> Layout | None:
    if len(shape) != 4:
        return None
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:  # neither, or an image so small that either could be meant
        return None
    return "nchw" if first else "nhwc"


def _range(
    value: Value,
    producers: Mapping[str, Producer],
    manifest: Manifest | None,
    given: ValueRange | None,
) -> ValueRange:
    known = (-1.0, 1.0) if manifest is not None else _told_range(value.name, producers)
    if known is not None and given is not None and known != given:
        raise UsageError(
            f"the value range {given[0]:g},{given[1]:g} is not that of the model's images:"
            f" {known[0]:g},{known[1]:g}"
        )
    if known is None and given is None:
        raise UsageError(
            f"the range of the model's output {value.name[:60]} cannot be known: say what black"
            " and white are with --value-range, as in --value-range=-1,1"
        )
    return known or given or (-1.0, 1.0)


def _told_range(name: str, producers: Mapping[str, Producer]) -> ValueRange | None:
    """The range that the graph tells, seen through operators that only move the values."""
    for _ in range(len(producers)):  # a damaged graph may be a circle
        producer = producers.get(name)
        if producer is None:
            return None
        if producer.operator not in MOVING:
            return RANGES.get(producer.operator)
        name = producer.source or ""
    return None


def _compare(signature: Signature, manifest: Manifest) -> None:
    names = (
        signature.latents.name,
        *(output and output.name for output in (signature.images, signature.pixels)),
    )
    if names != (LATENTS, IMAGES, PIXELS):
        raise ModelFileError(
            f"it has a manifest, and not the input {LATENTS} and the outputs {IMAGES} and {PIXELS}"
            " that go with one"
        )
    told = {
        "latent_dim": (manifest.latent_dim, signature.latents.latent_dim),
        "channels": (manifest.channels, signature.channels),
        "height": (manifest.height, signature.height),
        "width": (manifest.width, signature.width),
    }
    for name, (said, found) in told.items():
        if found is not None and said != found:
            raise ModelFileError(f"its manifest says {name} {said}, its graph {found}")


def _not_a_generator(inputs: Sequence[Value], outputs: Sequence[Value]) -> str:
    return (
        f"it is not a generator: expected {EXPECTED}; found inputs {_list(inputs)} and outputs"
        f" {_list(outputs)}"
    )


def _list(values: Sequence[Value]) -> str:
    shown = [str(value) for value in values[:4]]
    more = [f"and {len(values) - 4} more"] if len(values) > 4 else []
    return ", ".join([*shown, *more]) or "none"
