"""Survey of a data set before training: what it holds, what is left out, and what is removed."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import DataError, ImageError, UsageError
from wgan.text import plural
from wgan.training.data.data_range import DataRange, data_range_text
from wgan.training.data.decoding import in_threads, quiet_pillow
from wgan.training.data.sources import (
    DEFAULT_DRAWN_SIZE,
    FILE_WHITE,
    GREY_MODES,
    ImageSource,
    RawImage,
    file_values,
    image_size,
)
from wgan.training.data.transform import Transform

if TYPE_CHECKING:
    from wgan.training.data.shards import Shards

EXAMINED = 200
"""Images of a data set that are decoded to survey it, evenly spaced."""

EXAMINED_PIXELS = 2**25
"""Large images are examined until they have as many pixels together."""

SCANNED = 1000
"""Images whose lowest and highest value `find_data_range` takes."""

CHUNK = 16
"""Images that are examined before their pixels are counted."""

NARROW, NARROW_WIDE = 0.1, 0.5
"""A smaller share of the values of a type deserves a --range: of up to 8 bits, and of more."""

USUAL_DATA_RANGES: tuple[DataRange, ...] = ((0, 1), (-1, 1), (0, 255), (-128, 127))
"""Ranges that images commonly have, in types of more than 8 bits too."""

BOOLEAN = "boolean"


@dataclass(frozen=True)
class _Examined:
    """Size, colours and values of one image."""

    size: tuple[int, int]  # width, height
    colours: str
    is_transparent: bool
    kind: str  # of its values
    low: float
    high: float
    outside: float  # share of the values outside the range
    missing: float  # share of NaN


@dataclass(frozen=True)
class Survey:
    """What a data set holds; sizes, colours and values are those of the examined images."""

    count: int
    examined: int
    formats: Mapping[str, int]  # images by the extension of their files
    left_out: tuple[str, ...]  # phrases
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None  # the smallest and the largest
    enlarged: int = 0  # images that are smaller than the result
    removed: float = 0.0  # mean share of an image that cropping removes
    colours: Mapping[str, int] = field(default_factory=dict)
    transparent: int = 0
    unused_frames: int = 0  # in the examined files
    frames: int = 0
    values: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # by type
    outside: float = 0.0  # share of the values outside the range
    missing: float = 0.0  # share of NaN
    transform: Transform | None = None
    splits: str = ""  # which are all used, and how to take one

    def rows(self) -> dict[str, str]:
        """Return the summary for the user: a short heading and a line for each subject."""
        rows = {"found": self._found()}
        left_out = list(self.left_out)
        if self.unused_frames:
            left_out.insert(
                0, f"{self.unused_frames:,} of {self.frames:,} frames and pages: --frames all"
            )
        if left_out:
            rows["left out"] = "; ".join(left_out)
        if self.splits:
            rows["splits"] = self.splits
        if self.removed >= 0.005:
            rows["cropped"] = (
                f"{self.removed:.0%} of each image on average; see --fit and --size HEIGHTxWIDTH"
            )
        if self.enlarged:
            rows["enlarged"] = f"{self._share(self.enlarged)}, smaller than the result"
        colours = self._colours()
        if colours:
            rows["colours"] = colours
        values = [self._values(kind) for kind in self.values]
        if self.missing:
            values.append(f"{self.missing:.1%} of the values are NaN, no data, and become black")
        if any(values):
            rows["range"] = "; ".join(filter(None, values))
        return rows

    def check_frames(self, batch_size: int) -> None:
        """Raise DataError if there are too few images because frames are not used."""
        if self.count < batch_size and self.unused_frames:
            raise DataError(
                f"there are {self.count} images to train on, fewer than a batch of {batch_size}:"
                f" {self.unused_frames:,} of {self.frames:,} frames and pages are not used; use"
                " them with --frames all"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        fields = dataclasses.asdict(self)
        del fields["transform"]
        return fields

    def _found(self) -> str:
        text = plural(self.count, "image")
        if self.formats:
            kinds = sorted(self.formats.items(), key=lambda item: (-item[1], item[0]))
            text += ": " + ", ".join(f"{count:,} {kind}" for kind, count in kinds[:8])
        if self.sizes:
            small, large = (f"{width}x{height}" for width, height in self.sizes)
            text += f"; {small}" if small == large else f"; {small} to {large}"
        return text + (f" ({self.examined:,} examined)" if self.examined < self.count else "")

    def _share(self, number: int) -> str:
        if number == self.examined:
            return "all" if self.examined == self.count else f"all {number} examined"
        return f"{number:,} of {self.examined:,}"

    def _colours(self) -> str:
        if self.transform is None:  # the files stay as they are
            return ""
        channels, phrases = self.transform.channels, []
        for kind, number in self.colours.items():
            if kind == "4 bands" and channels < 4:
                phrases.append(
                    f"{self._share(number)} have 4 bands, none of them alpha, and the first 3 are"
                    " used: --channels 4 keeps all"
                )
            elif kind == "colour" and channels == 1:
                phrases.append(f"{self._share(number)} are in colour and become grey")
            elif kind == "grey" and channels == 3 and number < self.examined:
                phrases.append(f"{self._share(number)} are grey among images in colour")
        if self.transparent and channels in (1, 3):
            phrases.append(
                f"{self._share(self.transparent)} are transparent, composited over --background:"
                f" --channels {channels + 1} keeps alpha"
            )
        return "; ".join(phrases)

    def _values(self, kind: str) -> str:
        low, high = self.values[kind]
        found = f"{kind} values are {low:g} to {high:g}"
        given = self.transform.data_range if self.transform else None
        if given is not None:
            text = f"{found}; {given[0]:g} is black, {given[1]:g} white"
            if len(self.values) > 1 and (high - low) / (given[1] - given[0]) < NARROW:
                text += ", which leaves these hardly any contrast: scale them like the others"
            return text + (f", and {self.outside:.1%} lie outside" if self.outside else "")
        if kind == BOOLEAN:  # black and white without a range
            return ""
        if kind.endswith("-bit"):
            bits = int(kind.partition("-")[0])
            share = (high - low) / (2**bits - 1)
            if low == high:
                return f"all {kind} values are {low:g}"
            if share >= (NARROW if bits <= 8 else NARROW_WIDE):
                return ""
            found = f"{found}, which use {share:.1%} of {bits} bits"
        elif low == high:
            return f"all {kind} values are {low:g}"
        # 8 bits are narrow only if they fill a small share of 0 to 255.
        data_range = (low, high) if kind == "8-bit" else _likely_range(low, high)
        text = data_range_text(data_range)
        if self.transform is None:  # each file is stored as it is
            return f"{found}: train on the shards with --range {text}"
        return f"{found}: give --range {text}, or --range auto"


def _likely_range(low: float, high: float) -> DataRange:
    """Return the usual range of which values take half or more, else their own."""
    for black, white in USUAL_DATA_RANGES:
        if black <= low and high <= white and high - low >= (white - black) / 2:
            return black, white
    return low, high


def survey(source: ImageSource, transform: Transform | None) -> Survey:
    """Examine a data set: evenly spaced images, or the first ones where it is read forward.

    `transform` is what will be done to the images; None for nothing.
    """
    found = list(_examine(source, transform))
    frames = source.frame_counts(EXAMINED)
    sizes = sorted((each.size for each in found), key=lambda size: (size[0] * size[1], size))
    height, width, _ = transform.shape if transform else (0, 0, 0)
    values = {
        kind: (
            min(each.low for each in found if each.kind == kind),
            max(each.high for each in found if each.kind == kind),
        )
        for kind in {each.kind for each in found}
    }
    return Survey(
        count=len(source),
        examined=len(found),
        formats=dict(source.formats),
        left_out=source.unused,
        sizes=(sizes[0], sizes[-1]) if sizes else None,
        enlarged=sum(size[0] < width or size[1] < height for size in sizes),
        removed=_mean(transform.removed(*size) for size in sizes) if transform else 0.0,
        colours=dict(Counter(each.colours for each in found)),  # asdict breaks a Counter
        transparent=sum(each.is_transparent for each in found),
        unused_frames=sum(frames) - len(frames),
        frames=sum(frames),
        values=values,
        outside=_mean(each.outside for each in found),
        missing=_mean(each.missing for each in found),
        transform=transform,
        splits=source.splits,
    )


def find_data_range(source: ImageSource) -> DataRange:
    """Return the lowest and highest finite value of up to SCANNED images.

    Raises:
        DataError: no image can be read, or all their values are equal.
    """

    def scan(index: int) -> DataRange | None:
        try:
            values = raw_values(source.image(index, 64))
        except ImageError:  # reported when all images are loaded
            return None
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else None

    with quiet_pillow():
        ranges = [found for found in in_threads(scan, source.some_indices(SCANNED)) if found]
    if not ranges:
        raise DataError(f"--range auto: none of the first images of {source.name} can be read")
    low, high = min(each[0] for each in ranges), max(each[1] for each in ranges)
    if low == high:
        raise DataError(f"--range auto: all values of {source.name} are {low:g}")
    return low, high


def resolve_data_range(text: str, source: "ImageSource | Shards") -> str:
    """Return the option --range with `auto` replaced by the range of the data.

    Raises:
        UsageError: the data is streamed.
        DataError: no image can be read, or all their values are equal.
    """
    if text != "auto":
        return text
    if not isinstance(source, ImageSource):
        raise UsageError(
            "--range auto is not possible with shards, which are streamed: give --range LOW,HIGH"
        )
    return data_range_text(find_data_range(source))


def raw_values(image: RawImage) -> npt.NDArray[np.generic]:
    """Return the values of an image in units of its data, without alpha."""
    if isinstance(image, np.ndarray):
        return image
    if image.mode.startswith(("I", "F")):
        return file_values(image)
    converted = image.convert("L" if image.mode in GREY_MODES else "RGB")
    converted.info = image.info
    return file_values(converted)


def _mean(shares: Iterable[float]) -> float:
    return float(np.mean([*shares] or [0.0]))


def _examine(source: ImageSource, transform: Transform | None) -> Iterable[_Examined]:
    size = transform.drawn_size if transform else DEFAULT_DRAWN_SIZE
    data_range = transform.data_range if transform else None

    def examine(index: int) -> _Examined | None:
        with contextlib.suppress(ImageError):  # reported when all images are loaded
            return _examine_image(source.image(index, size), data_range)
        return None

    indices, pixels = source.some_indices(EXAMINED), 0
    with quiet_pillow():
        for first in range(0, len(indices), CHUNK):
            for found in in_threads(examine, indices[first : first + CHUNK]):
                if found is not None:
                    pixels += found.size[0] * found.size[1]
                    yield found
            if pixels > EXAMINED_PIXELS:
                return


def _examine_image(image: RawImage, data_range: DataRange | None) -> _Examined:
    values = raw_values(image)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    outside = 0.0
    if data_range is not None:
        numbers = values.astype(np.float64)
        outside = float(((numbers < data_range[0]) | (numbers > data_range[1])).mean())
    return _Examined(
        image_size(image),
        _colours(image),
        _is_transparent(image),
        _kind(image, values),
        low,
        high,
        outside,
        float(np.isnan(values).mean()),
    )


def _kind(image: RawImage, values: npt.NDArray[np.generic]) -> str:
    if isinstance(image, Image.Image) and FILE_WHITE in image.info:
        return f"{image.info[FILE_WHITE].bit_length()}-bit"
    if isinstance(image, np.ndarray) and values.dtype == np.bool_:
        return BOOLEAN
    if values.dtype.kind in "ub" and values.dtype.itemsize <= 2:
        return f"{8 * values.dtype.itemsize}-bit"
    is_mode_i = isinstance(image, Image.Image) and values.dtype == np.int32
    if is_mode_i and values.min() >= 0 and values.max() <= 65535:
        return "16-bit"
    return values.dtype.name


def _colours(image: RawImage) -> str:
    if isinstance(image, np.ndarray):
        bands = image.shape[2]
        return {1: "grey", 3: "colour"}.get(bands, f"{bands} bands")
    return "grey" if image.mode in GREY_MODES else "colour"


def _is_transparent(image: RawImage) -> bool:
    if isinstance(image, np.ndarray) or not image.has_transparency_data:
        return False
    if image.mode.startswith("I"):
        return True
    alpha = image.convert("RGBA").getchannel("A")
    low, _ = alpha.getextrema()
    return isinstance(low, int | float) and low < 255
