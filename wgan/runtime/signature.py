"""Inputs and outputs of a generator's graph, found in the graph itself.

wgan's own exports have the input `latents` `[n, latent_dim]`, for a generator with classes `labels`
`[n]` as well, and the outputs `images` and `pixels`. What a generator from another project takes
and gives is found by `wgan.model_file.graph_inputs`, with the options that the user gives.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.image_shape import PIXEL_CHANNELS
from wgan.images import Images, Pixels, to_images, to_pixels
from wgan.model_file import FILE_SIDE_LIMIT, IMAGES, LABELS, LATENTS, PIXELS
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.graph_inputs import FLOATS, Inputs, LabelInput, find_inputs, list_values
from wgan.model_file.image_outputs import (
    IMAGE_TYPES,
    UINT8,
    FoundImages,
    Layout,
    find_images,
    range_of_images,
)
from wgan.model_file.manifest import Manifest
from wgan.model_file.onnx_scan import Axis, OnnxFile, ValueInfo
from wgan.model_file.value_range import ValueRange

INT64 = "tensor(int64)"

OWN_RANGE = (-1.0, 1.0)
"""Black and white in the float images of wgan's exports."""

Probe = Callable[[Inputs, Sequence[str]], list[npt.NDArray[np.generic]]]
"""Draws one image: the values of outputs, by name."""


@dataclass(frozen=True)
class ImageOutput:
    """An output that holds images of `height`, `width` and `channels`."""

    name: str
    layout: Layout
    value_range: ValueRange | None  # None for whole numbers from 0 to 255
    shape: tuple[int, int, int]  # height, width, channels

    def images(self, raw: npt.NDArray[np.generic]) -> Images:
        """Convert the graph's output to float images `[n, c, h, w]` in [-1, 1]."""
        if self.value_range is None:
            return to_images(self._channels_last(_levels(raw)))
        images = self._channels_first(raw.astype(np.float32, copy=False))
        low, high = self.value_range
        if (low, high) == (-1, 1):  # unchanged to the bit
            return images
        return ((images - np.float32(low)) * np.float32(2 / (high - low)) - 1).astype(np.float32)

    def pixels(self, raw: npt.NDArray[np.generic]) -> Pixels:
        """Convert the graph's output to pixels `[n, h, w, c]`."""
        if self.value_range is None:
            return self._channels_last(_levels(raw))
        return to_pixels(self.images(raw))

    def fits(self, raw: tuple[int, ...], n: int) -> bool:
        """Whether the graph's output has this shape for `n` images."""
        return raw == (n, *self.axes) if self.axes else raw[:1] == (n,) and (
            math.prod(raw) == n * math.prod(self.shape)
        )  # fmt: skip

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes of one image in the graph's output; () for flat images, which may have any."""
        height, width, channels = self.shape
        axes: Mapping[Layout, tuple[int, ...]] = {
            "nchw": (channels, height, width), "nhwc": (height, width, channels),
            "nhw": (height, width), "flat": (),
        }  # fmt: skip
        return axes[self.layout]

    def _channels_first(self, raw: npt.NDArray[np.float32]) -> Images:
        height, width, channels = self.shape
        if self.layout == "nhwc":
            return raw.transpose(0, 3, 1, 2)
        return raw if self.layout == "nchw" else raw.reshape(-1, channels, height, width)

    def _channels_last(self, raw: npt.NDArray[np.uint8]) -> Pixels:
        height, width, channels = self.shape
        if self.layout == "nhwc":
            return raw
        return raw.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)


def _levels(raw: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """Whole numbers as uint8; those of other types may lie outside of its range."""
    levels: npt.NDArray[Any] = raw
    return levels if levels.dtype == np.uint8 else np.clip(levels, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a generator; at least one of `images` and `pixels` is not None."""

    inputs: Inputs
    images: ImageOutput | None
    pixels: ImageOutput | None

    @property
    def main(self) -> ImageOutput:
        """The float images, or else the pixels."""
        found = self.images or self.pixels
        assert found is not None
        return found


def read_signature(
    inputs: Sequence[ValueInfo],
    outputs: Sequence[ValueInfo],
    file: OnnxFile,
    manifest: Manifest | None,
    options: ForeignOptions,
    probe: Probe,
) -> Signature:
    """Find the latents and the images among a graph's inputs and outputs.

    Sizes of images that the graph does not declare are those of an image that `probe` draws.

    Raises:
        ModelFileError: the graph is not a generator, or does not match the manifest.
        UsageError: an option is needed, or contradicts the graph.
    """
    if manifest is not None:
        options.check_own()
        return _own_signature(inputs, outputs, manifest, options, probe)
    found = find_inputs(inputs, options, file.embeddings)
    outputs = _complete(outputs, found, probe)
    floats, whole = find_images(outputs, options)
    value_range = range_of_images(floats, whole, file.producers, options.value_range)
    images = None if floats is None else _output(floats, value_range)
    pixels = None
    if whole is not None and (images is None or images.shape == _output(whole, None).shape):
        pixels = _output(whole, None)
    return Signature(found, images, pixels)


def session_interface(session: Any) -> tuple[list[ValueInfo], list[ValueInfo]]:
    """The inputs and outputs of an onnxruntime.InferenceSession. Raises ModelFileError."""
    try:
        return (
            [ValueInfo.of(argument) for argument in session.get_inputs()],
            [ValueInfo.of(argument) for argument in session.get_outputs()],
        )
    except UnicodeDecodeError as exc:
        raise ModelFileError("the names in its graph are not text") from exc


def _complete(outputs: Sequence[ValueInfo], inputs: Inputs, probe: Probe) -> Sequence[ValueInfo]:
    """The outputs with the axes that the graph leaves free, as they are for one image."""
    free = [
        value
        for value in outputs
        if value.type in IMAGE_TYPES
        and (not value.shape or not all(isinstance(axis, int) for axis in value.shape[1:]))
    ]
    if not free:
        return outputs
    names = [value.name for value in free]
    shapes = {name: raw.shape for name, raw in zip(names, probe(inputs, names), strict=True)}
    return [
        replace(value, shape=(None, *shapes[value.name][1:])) if value.name in shapes else value
        for value in outputs
    ]


def _output(found: FoundImages, value_range: ValueRange | None) -> ImageOutput:
    assert found.sides is not None  # `_complete` has drawn what was not declared
    check_sides(*found.sides)
    return ImageOutput(found.value.name, found.layout, value_range, (*found.sides, found.channels))


def check_sides(height: int, width: int) -> None:
    """Raise ModelFileError unless images may have this size."""
    if not (1 <= height <= FILE_SIDE_LIMIT and 1 <= width <= FILE_SIDE_LIMIT):
        raise ModelFileError(
            f"its images are {width} wide and {height} high: 1 to {FILE_SIDE_LIMIT} pixels are"
            " allowed"
        )


def _own_signature(
    inputs: Sequence[ValueInfo],
    outputs: Sequence[ValueInfo],
    manifest: Manifest,
    options: ForeignOptions,
    probe: Probe,
) -> Signature:
    """The signature of a file with a manifest, which it must match."""
    classes, labels = len(manifest.classes), None
    if classes:
        labels = LabelInput(_own_labels(inputs, classes), classes, one_hot=False)
        inputs = [value for value in inputs if value.name != LABELS]
    if (
        len(inputs) != 1
        or inputs[0].type not in FLOATS
        or not all(isinstance(axis, int) for axis in inputs[0].shape[1:])
    ):
        raise ModelFileError(_not_a_generator(inputs, outputs))
    found = replace(find_inputs(inputs, ForeignOptions(), {}), labels=labels)
    outputs = _complete(outputs, found, probe)
    height, width, channels = manifest.height, manifest.width, manifest.channels
    _compare("latent_dim", manifest.latent_dim, found.latent_dim)
    by_name = {value.name: value for value in outputs}
    floats, whole = by_name.get(IMAGES), by_name.get(PIXELS)
    has_pixels = channels in PIXEL_CHANNELS
    if found.latents.name != LATENTS or floats is None or (has_pixels and whole is None):
        names = f"outputs {IMAGES} and {PIXELS}" if has_pixels else f"output {IMAGES}"
        raise ModelFileError(
            f"it has a manifest, but not the input {LATENTS} and the {names} of wgan's exports"
        )
    shape = (height, width, channels)
    images = ImageOutput(IMAGES, "nchw", OWN_RANGE, shape)
    pixels = ImageOutput(PIXELS, "nhwc", None, shape) if has_pixels else None
    for value, output, types in ((floats, images, tuple(FLOATS)), (whole, pixels, (UINT8,))):
        if value is None or output is None:
            continue
        if value.type not in types or len(value.shape) != 4:
            raise ModelFileError(_not_a_generator(inputs, outputs))
        order = (2, 3, 1) if output.layout == "nchw" else (1, 2, 3)
        for name, said, axis in zip(
            ("height", "width", "channels"), shape, (value.shape[i] for i in order), strict=True
        ):
            _compare(name, said, axis)
    if options.value_range is not None and options.value_range != OWN_RANGE:
        low, high = options.value_range
        raise UsageError(
            f"--value-range {low:g},{high:g} is not allowed: the model's images have the range -1,1"
        )
    check_sides(height, width)
    return Signature(found, images, pixels)


def _compare(name: str, said: int, found: Axis) -> None:
    if said != found:
        raise ModelFileError(f"its manifest says {name} {said}, its graph {found}")


def _own_labels(inputs: Sequence[ValueInfo], classes: int) -> ValueInfo:
    """Return the input `labels`. Raises ModelFileError if there is no such input."""
    found = [value for value in inputs if value.name == LABELS]
    fits = len(found) == 1 and found[0].type == INT64 and len(found[0].shape) == 1
    batches = {value.shape[0] for value in inputs if value.shape}
    is_mixed = len(batches) > 1 and any(isinstance(batch, int) for batch in batches)
    if not fits or is_mixed:
        raise ModelFileError(
            f"its manifest names {classes} classes, and the graph has no input {LABELS}"
            f" {INT64} [n] beside {LATENTS}: found inputs {list_values(inputs)}"
        )
    return found[0]


def _not_a_generator(inputs: Sequence[ValueInfo], outputs: Sequence[ValueInfo]) -> str:
    return (
        f"it is not a generator of wgan, whatever its manifest says: found inputs"
        f" {list_values(inputs)} and outputs {list_values(outputs)}"
    )
