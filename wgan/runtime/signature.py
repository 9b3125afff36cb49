"""Inputs and outputs of a generator's graph, found in the graph itself.

wgan's own exports have the input `latents` `[n, latent_dim]`, for a generator with classes `labels`
`[n]` as well, and the outputs `images` and `pixels`.
A generator from another project works as well if its graph is clear: one input that can only be
latents, and one output that can only be images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.image_shape import PIXEL_CHANNELS
from wgan.images import Images, Pixels, to_images, to_pixels
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.model_file.manifest import Manifest
from wgan.model_file.onnx_scan import ValueInfo
from wgan.model_file.value_range import Producer, ValueRange, inferred_range

Layout = Literal["nchw", "nhwc"]
"""Axes of the images: `[n, channels, height, width]` or `[n, height, width, channels]`."""

OWN_LAYOUTS: Mapping[str, Layout] = {IMAGES: "nchw", PIXELS: "nhwc"}
"""Layouts of the outputs of wgan's exports."""

FLOATS = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
"""ONNX Runtime's names of the float types, and numpy's."""

UINT8, INT64 = "tensor(uint8)", "tensor(int64)"

BATCH_LIMIT = 4096
"""Largest batch size that a graph may be frozen to; each run is padded to it."""

LATENT_DIM_LIMIT = 2**20
"""Largest length of a latent."""

SIDE_LIMIT = 2**14
"""Largest height and width of an image."""

EXPECTED = (
    "one float input of latents, [n, z] or [n, z, 1, 1], and one output of images, float or uint8,"
    " [n, c, h, w] or [n, h, w, c] with 1 or 3 channels"
)


@dataclass(frozen=True)
class LatentInput:
    """The latents' input."""

    name: str
    type: str  # numpy's name
    latent_dim: int
    spatial: bool  # [n, z, 1, 1] rather than [n, z]
    batch: int | None  # None if it is free


@dataclass(frozen=True)
class ImageOutput:
    """An output that holds images."""

    name: str
    layout: Layout
    value_range: ValueRange | None  # None for uint8

    def images(self, raw: npt.NDArray[np.generic]) -> Images:
        """Convert the graph's output to float images `[n, c, h, w]` in [-1, 1]."""
        if self.value_range is None:
            return to_images(self._channels_last(raw.astype(np.uint8, copy=False)))
        values = raw.astype(np.float32, copy=False)
        images = values if self.layout == "nchw" else values.transpose(0, 3, 1, 2)
        low, high = self.value_range
        if (low, high) == (-1, 1):  # unchanged to the bit
            return images
        return ((images - np.float32(low)) * np.float32(2 / (high - low)) - 1).astype(np.float32)

    def pixels(self, raw: npt.NDArray[np.generic]) -> Pixels:
        """Convert the graph's output to pixels `[n, h, w, c]`."""
        if self.value_range is None:
            return self._channels_last(raw.astype(np.uint8, copy=False))
        return to_pixels(self.images(raw))

    def shape(self, n: int, height: int, width: int, channels: int) -> tuple[int, int, int, int]:
        """Shape of the output for `n` images of this size."""
        if self.layout == "nchw":
            return (n, channels, height, width)
        return (n, height, width, channels)

    def _channels_last(self, raw: npt.NDArray[np.uint8]) -> Pixels:
        return raw if self.layout == "nhwc" else raw.transpose(0, 2, 3, 1)


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a generator; at least one of `images` and `pixels` is not None."""

    latents: LatentInput
    labels: bool  # whether there is the input `labels`, int64 [n]
    images: ImageOutput | None
    pixels: ImageOutput | None
    height: int | None  # None if the graph does not declare it
    width: int | None
    channels: int


def read_signature(
    inputs: Sequence[ValueInfo],
    outputs: Sequence[ValueInfo],
    producers: Mapping[str, Producer],
    manifest: Manifest | None,
    value_range: ValueRange | None,
) -> Signature:
    """Find the latents and the images among a graph's inputs and outputs.

    `producers` are the operators that compute values, `value_range` is what the caller knows of
    float images.

    Raises:
        ModelFileError: the graph is not a generator, or does not match the manifest.
        UsageError: the range of the images is unknown, or `value_range` contradicts it.
    """
    classes = manifest.classes if manifest is not None else ()
    if classes:
        inputs = _without_labels(inputs, len(classes))
    latents = _find_latents(inputs, outputs)
    floats = _find_images(inputs, outputs, tuple(FLOATS), manifest)
    whole = _find_images(inputs, outputs, (UINT8,), manifest)
    found = floats or whole
    if found is None:
        raise ModelFileError(_not_a_generator(inputs, outputs))
    images, pixels = None, None
    if floats is not None:
        value_range = _range(floats[0], producers, manifest, value_range)
        images = ImageOutput(floats[0].name, floats[1], value_range)
    if whole is not None:
        pixels = ImageOutput(whole[0].name, whole[1], None)
    signature = Signature(latents, bool(classes), images, pixels, *_image_axes(*found))
    if manifest is not None:
        _compare(signature, manifest)
    return signature


def check_sides(height: int, width: int) -> None:
    """Raise ModelFileError unless images may have this size."""
    if not (1 <= height <= SIDE_LIMIT and 1 <= width <= SIDE_LIMIT):
        raise ModelFileError(
            f"its images are {width} wide and {height} high: 1 to {SIDE_LIMIT} pixels are allowed"
        )


def _image_axes(value: ValueInfo, layout: Layout) -> tuple[int | None, int | None, int]:
    """Height and width, None if they are free, and channels."""
    axes = value.shape[1:] if layout == "nchw" else (value.shape[3], *value.shape[1:3])
    channels, height, width = axes
    assert isinstance(channels, int)  # as _layout has checked
    if isinstance(height, int) and isinstance(width, int):
        check_sides(height, width)
        return height, width, channels
    return None, None, channels


def _find_latents(inputs: Sequence[ValueInfo], outputs: Sequence[ValueInfo]) -> LatentInput:
    if len(inputs) == 1 and inputs[0].type in FLOATS:
        name, shape = inputs[0].name, inputs[0].shape
        spatial = len(shape) == 4 and shape[2:] == (1, 1)
        if (spatial or len(shape) == 2) and isinstance(shape[1], int):
            batch = shape[0] if isinstance(shape[0], int) else None
            if 1 <= shape[1] <= LATENT_DIM_LIMIT and (batch is None or 1 <= batch <= BATCH_LIMIT):
                return LatentInput(name, FLOATS[inputs[0].type], shape[1], spatial, batch)
    raise ModelFileError(_not_a_generator(inputs, outputs))


def _without_labels(inputs: Sequence[ValueInfo], classes: int) -> list[ValueInfo]:
    """Return the inputs other than `labels`. Raises ModelFileError if there is no such input."""
    others = [value for value in inputs if value.name != LABELS]
    found = [value for value in inputs if value.name == LABELS]
    fits = len(found) == 1 and found[0].type == INT64 and len(found[0].shape) == 1
    batches = {value.shape[0] for value in inputs if value.shape}
    is_mixed = len(batches) > 1 and any(isinstance(batch, int) for batch in batches)
    if not fits or is_mixed:
        raise ModelFileError(
            f"its manifest names {classes} classes, and the graph has no input {LABELS}"
            f" {INT64} [n] beside {LATENTS}: found inputs {_list(inputs)}"
        )
    return others


def _find_images(
    inputs: Sequence[ValueInfo],
    outputs: Sequence[ValueInfo],
    types: tuple[str, ...],
    manifest: Manifest | None,
) -> tuple[ValueInfo, Layout] | None:
    """Return the only output of these types that can be images."""
    found = [
        (value, layout)
        for value in outputs
        if value.type in types and (layout := _layout(value, manifest)) is not None
    ]
    if len(found) > 1:
        raise ModelFileError(_not_a_generator(inputs, outputs))
    return found[0] if found else None


def _layout(value: ValueInfo, manifest: Manifest | None) -> Layout | None:
    shape = value.shape
    if len(shape) != 4:
        return None
    # wgan's own outputs may have any number of channels.
    own = None if manifest is None else OWN_LAYOUTS.get(value.name)
    if own is not None and manifest is not None:
        channels = shape[1] if own == "nchw" else shape[3]
        if channels == manifest.channels:
            return own
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:  # neither, or ambiguous for a tiny image
        return None
    return "nchw" if first else "nhwc"


def _range(
    value: ValueInfo,
    producers: Mapping[str, Producer],
    manifest: Manifest | None,
    given: ValueRange | None,
) -> ValueRange:
    known = (-1.0, 1.0) if manifest is not None else inferred_range(value.name, producers)
    if known is not None and given is not None and known != given:
        raise UsageError(
            f"--value-range {given[0]:g},{given[1]:g} is not allowed: the model's images have the"
            f" range {known[0]:g},{known[1]:g}"
        )
    if known is None and given is None:
        raise UsageError(
            f"the range of the model's output {value.name[:60]} is unknown: give the values of"
            " black and white, as in --value-range=-1,1"
        )
    return known or given or (-1.0, 1.0)


def _compare(signature: Signature, manifest: Manifest) -> None:
    declared = {
        "latent_dim": (manifest.latent_dim, signature.latents.latent_dim),
        "channels": (manifest.channels, signature.channels),
        "height": (manifest.height, signature.height),
        "width": (manifest.width, signature.width),
    }
    for name, (said, found) in declared.items():
        if found is not None and said != found:
            raise ModelFileError(f"its manifest says {name} {said}, its graph {found}")
    names = (
        signature.latents.name,
        *(output and output.name for output in (signature.images, signature.pixels)),
    )
    has_pixels = manifest.channels in PIXEL_CHANNELS
    known = {(LATENTS, IMAGES, PIXELS)} | (set() if has_pixels else {(LATENTS, IMAGES, None)})
    if names not in known:
        outputs = f"outputs {IMAGES} and {PIXELS}" if has_pixels else f"output {IMAGES}"
        raise ModelFileError(
            f"it has a manifest, but not the input {LATENTS} and the {outputs} of wgan's exports"
        )


def _not_a_generator(inputs: Sequence[ValueInfo], outputs: Sequence[ValueInfo]) -> str:
    return (
        f"it is not a generator: expected {EXPECTED}; found inputs {_list(inputs)} and outputs"
        f" {_list(outputs)}.  wgan optimize FILE  takes more forms, and says what they need"
    )


def _list(values: Sequence[ValueInfo]) -> str:
    shown = [str(value) for value in values[:4]]
    more = [f"and {len(values) - 4} more"] if len(values) > 4 else []
    return ", ".join([*shown, *more]) or "none"
