"""Which output of another project's generator holds the images, and what their axes are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from wgan.errors import ModelFileError, UnknownRange, UsageError, WganError
from wgan.image_shape import MAX_CHANNELS
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.graph_inputs import FLOATS, list_values
from wgan.model_file.onnx_scan import Axis, ValueInfo
from wgan.model_file.value_range import Producer, ValueRange, inferred_range

Layout = Literal["nchw", "nhwc", "nhw", "flat"]
"""Axes of images: [n, c, h, w], [n, h, w, c], [n, h, w], or any of c * h * w values in all."""

UINT8 = "tensor(uint8)"

OTHER_WHOLE = ("tensor(int16)", "tensor(uint16)", "tensor(int32)", "tensor(int64)")
"""Other types of whole numbers whose values may be those of uint8."""

IMAGE_TYPES = (*FLOATS, UINT8, *OTHER_WHOLE)
"""Types that images may have."""

CHANNEL_CHOICES = ((1, 3), (1, 2, 3, 4), tuple(range(1, MAX_CHANNELS + 1)))
"""Channels that an axis of images may have, the most likely first."""


@dataclass(frozen=True)
class FoundImages:
    """An output that holds images."""

    value: ValueInfo
    layout: Layout
    sides: tuple[int, int] | None  # height and width; None if the graph does not declare them
    channels: int


def find_images(
    outputs: Sequence[ValueInfo], options: ForeignOptions
) -> tuple[FoundImages | None, FoundImages | None]:
    """Find the float images and the pixels among a graph's outputs; one of them is not None.

    Whole numbers of other types than uint8 are pixels only where nothing else can be images: they
    may be a map of classes.

    Raises:
        ModelFileError: no output can be images.
        UsageError: an option is needed, or contradicts the graph.
    """
    if options.image_output is not None:
        outputs = [value for value in outputs if value.name == options.image_output] or outputs
        if outputs[0].name != options.image_output:
            raise UsageError(
                f"--output-name {options.image_output}: the file has no such output, only"
                f" {list_values(outputs)}"
            )
    floats = _best([value for value in outputs if value.type in FLOATS], options)
    whole = _best([value for value in outputs if value.type == UINT8], options)
    if floats is None and whole is None:
        whole = _best([value for value in outputs if value.type in OTHER_WHOLE], options)
    if floats is None and whole is None:
        raise _no_images(outputs, options.image_shape)
    return floats, whole


def _no_images(outputs: Sequence[ValueInfo], given: tuple[int, int, int] | None) -> WganError:
    if given is not None:
        shown = "x".join(map(str, given))
        return UsageError(
            f"--image-shape {shown} does not fit the file's outputs {list_values(outputs)}: an"
            f" image of this shape has {math.prod(given)} values; give HEIGHTxWIDTHxCHANNELS"
        )
    return ModelFileError(
        "it has no output that is clearly images, floats or whole numbers, [n, c, h, w],"
        f" [n, h, w, c] or [n, h, w], only {list_values(outputs)}. Say what flat images are with"
        "  --image-shape HEIGHTxWIDTHxCHANNELS, as in 28x28x1"
    )


def _best(outputs: Sequence[ValueInfo], options: ForeignOptions) -> FoundImages | None:
    """The likeliest images: of usual channels, and colour rather than a mask beside it."""
    ranked = [
        (rank, found)
        for value in outputs
        for rank, found in [as_images(value, options.image_shape)]
        if found is not None
    ]
    first = min((rank for rank, _ in ranked), default=0)
    best = [found for rank, found in ranked if rank == first]
    if len(best) > 1:
        colours = [found for found in best if found.channels == 3]
        best = colours if len(colours) == 1 else best
    if len(best) > 1:
        raise UsageError(
            "the file has several outputs that could be its images:"
            f" {list_values([found.value for found in best])}. Choose one with  --output-name NAME"
        )
    return best[0] if best else None


def as_images(
    value: ValueInfo, given: tuple[int, int, int] | None
) -> tuple[int, FoundImages | None]:
    """An output as images, and how unlikely that is.

    `given` is what the user says they are: height, width and channels.
    """
    shape = value.shape
    if given is not None:
        return 0, _as_given(value, given)
    if len(shape) == 3:
        height, width = shape[1:]
        is_grey = height not in CHANNEL_CHOICES[1]
        return 1, FoundImages(value, "nhw", _sides(height, width), 1) if is_grey else None
    if len(shape) != 4:
        return 0, None
    for rank, choices in enumerate(CHANNEL_CHOICES):
        first = isinstance(shape[1], int) and shape[1] in choices
        last = isinstance(shape[3], int) and shape[3] in choices
        last = last and not (shape[2] == shape[3] != shape[1])  # features [n, many, 4, 4]
        if first and last:  # either, for a tiny image
            return rank, None
        if first and isinstance(shape[1], int):
            return rank, FoundImages(value, "nchw", _sides(*shape[2:]), shape[1])
        if last and isinstance(shape[3], int):
            return rank, FoundImages(value, "nhwc", _sides(*shape[1:3]), shape[3])
    return 0, None


def _as_given(value: ValueInfo, given: tuple[int, int, int]) -> FoundImages | None:
    """An output as images of `given` height, width and channels, if that fits."""
    height, width, channels = given
    layouts: dict[tuple[int, ...], Layout] = {
        (channels, height, width): "nchw",
        (height, width, channels): "nhwc",
        **({(height, width): "nhw"} if channels == 1 else {}),
    }
    axes = value.shape[1:]
    for sizes, layout in layouts.items():
        if len(axes) == len(sizes) and all(
            not isinstance(axis, int) or axis == size
            for axis, size in zip(axes, sizes, strict=True)
        ):
            return FoundImages(value, layout, (height, width), channels)
    sizes = tuple(axis for axis in axes if isinstance(axis, int))
    fits = axes and len(sizes) == len(axes) and math.prod(sizes) == math.prod(given)
    return FoundImages(value, "flat", (height, width), channels) if fits else None


def _sides(height: Axis, width: Axis) -> tuple[int, int] | None:
    both = isinstance(height, int) and isinstance(width, int)
    return (height, width) if both else None  # type: ignore[return-value]


USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""Usual values of black and white, which an option cannot override."""

LEVELS = (0.0, 255.0)
"""Values of black and white of uint8."""

WIDTH_RATIO_LIMIT = 16
"""How many times as wide as the graph's own range a given one may be, or the other way round:
0 to 255 for values in [-1, 1] is a mistake."""


def range_of_images(
    floats: FoundImages | None,
    whole: FoundImages | None,
    producers: Mapping[str, Producer],
    given: ValueRange | None,
) -> ValueRange | None:
    """The values of black and white of the float images; None if there are only pixels.

    Raises:
        UnknownRange, UsageError: as `find_range` and `check_levels`.
    """
    if floats is not None:
        return find_range(floats.value.name, producers, given)
    assert whole is not None
    check_levels(whole.value.name, whole.value.type, producers, given)
    return None


def check_levels(
    name: str,
    kind: str,
    producers: Mapping[str, Producer],
    given: ValueRange | None,
    option: str = "--value-range",
) -> None:
    """Check that images of whole numbers, of the type `kind`, have the levels of uint8.

    Raises:
        UsageError: `given` or the graph says otherwise, or neither says it.
    """
    if given not in (None, LEVELS):
        assert given is not None
        raise UsageError(
            f"{option} {given[0]:g},{given[1]:g} is not allowed: the model's images are whole"
            f" numbers, {_element(kind)}, whose range is 0,255"
        )
    if kind == UINT8:
        return
    known = inferred_range(name, producers)
    if known is None and given is None:
        raise UsageError(
            f"the model's output {name[:60]} has whole numbers, {_element(kind)}, and its last"
            " operators do not show that they are from 0 to 255. If they are pixel values and not"
            f" class indices, give  {option}=0,255"
        )
    # A cast truncates towards zero: tanh(x) * 128 + 127.5, from -0.5 to 255.5, has 0 to 255.
    if known is None or (math.trunc(known[0]), math.trunc(known[1])) == LEVELS:
        return
    may_clip = _are_nearly_levels(known)
    if given is None or not may_clip:
        advice = f". Give  {option}=0,255  to clip them to that" if may_clip else ""
        raise UsageError(
            f"the model's output {name[:60]} has whole numbers, {_element(kind)}, from"
            f" {known[0]:g} to {known[1]:g}: those of images are from 0 to 255{advice}"
        )


def _are_nearly_levels(known: ValueRange) -> bool:
    """Whether black and white are in a range of whole numbers, or one beside it.

    Not those of -128 to 127: half of them would be clipped.
    """
    low, high = LEVELS
    return known[0] - 1 <= low and high <= known[1] + 1 and _are_similar(known, LEVELS)


def _element(kind: str) -> str:
    return kind.removeprefix("tensor(").removesuffix(")")


def find_range(
    name: str,
    producers: Mapping[str, Producer],
    given: ValueRange | None,
    option: str = "--value-range",
) -> ValueRange:
    """The values of black and white of a float output: those of the graph, or `given`.

    A range that `option` gives wins over one that is not usual: a clip may be there for safety, and
    a factor behind a tanh may leave values unused.

    Raises:
        UnknownRange: neither says it.
        UsageError: they contradict each other.
    """
    known = inferred_range(name, producers)
    if known is None or given is None:
        found = known or given
        if found is None:
            raise UnknownRange(
                f"the range of the model's output {name[:60]} is unknown: it does not end in tanh,"
                f" sigmoid or a clip. Give the values of black and white, as in  {option}=-1,1"
            )
        return found
    # A clip at 1.5 may be there for safety; one at a usual range means it.
    is_clip = inferred_range(name, producers, of_clips=False) is None
    is_narrower = known[0] <= given[0] and given[1] <= known[1]
    may_differ = _are_similar(known, given) or (is_clip and is_narrower)
    if known != given and (known in USUAL_RANGES or not may_differ):
        raise UsageError(
            f"{option} {given[0]:g},{given[1]:g} is not allowed: the model's images have the range"
            f" {known[0]:g},{known[1]:g}"
        )
    return given


def _are_similar(known: ValueRange, given: ValueRange) -> bool:
    """Whether two ranges overlap and have about the same width."""
    widths = [high - low for low, high in (known, given)]
    overlap = min(known[1], given[1]) - max(known[0], given[0])
    return overlap > 0 and max(widths) <= WIDTH_RATIO_LIMIT * min(widths)
