"""Transform: an image of any mode, bands and shape to uint8 pixels of one shape."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError, UsageError
from wgan.image_shape import Size, height_and_width
from wgan.images import Pixels
from wgan.training.data.data_range import DataRange, parse_data_range, to_bytes
from wgan.training.data.sources import FILE_WHITE, GREY_MODES, RawImage, file_values, image_size

if TYPE_CHECKING:
    from wgan.training.config import TrainConfig
    from wgan.training.execution import PrepareConfig
    from wgan.training.preparation import Preparation

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of an image, in its pixels."""

WHITE: Colour = (255, 255, 255)

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's modes by the number of channels; with 2 and 4, the last one is alpha."""

BICUBIC = Image.Resampling.BICUBIC

FIRST_FIELDS = frozenset({"size", "channels", "crop", "background"})
"""Fields that are part of every identity, as in wgan 0.1.0."""


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How an image becomes training pixels."""

    size: Size  # height and width of the result, in pixels: N, or "HEIGHTxWIDTH"
    channels: int  # 1 for grey, 2 for grey and alpha, 3 for colour, 4 for colour and alpha
    crop: int = 0  # side in pixels of a centre crop before resizing; 0: no crop
    background: Colour = WHITE  # under transparent pixels, and around padded images
    fit: str = "crop"  # one of FITS, for images of another shape
    data_range: DataRange | None = None  # values of black and white; None: those of the type

    @classmethod
    def from_config(
        cls, config: "TrainConfig | PrepareConfig | Preparation", size: Size, channels: int
    ) -> Self:
        """Transform by the options of a command. Raises UsageError for an unknown background."""
        return cls(
            size=size,
            channels=channels,
            crop=config.crop,
            background=parse_colour(config.background),
            fit=config.fit,
            data_range=parse_data_range(config.data_range),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return *height_and_width(self.size), self.channels

    @property
    def drawn_size(self) -> int:
        """Side at which a source draws its images, if it draws them: the longer one."""
        return max(self.shape[:2])

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the pixels; a newer field only where it is no default.

        So the caches and the streamed runs of earlier versions stay valid.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name in FIRST_FIELDS or getattr(self, field.name) != field.default
        }

    def __call__(self, image: RawImage) -> Pixels:
        """Convert an image to uint8 `[height, width, channels]` (bicubic, antialiased).

        With 1 or 3 channels, transparency is composited over the background before resizing.
        With 2 or 4 it is kept, and colours are weighted by it while they are resized. Otherwise
        the invisible colours of transparent pixels would bleed into their neighbours. Bands of an
        array are resized one by one. An image smaller than `crop` is not padded.

        Raises:
            ImageError: the values have no standard range, as with floating point, or the bands
                do not suit the channels.
        """
        whole = _eight_bits(_crop(image, self.crop), self.data_range)
        if isinstance(whole, np.ndarray):
            bands = np.moveaxis(_select_bands(whole, self.channels), 2, 0)  # (c, h, w)
            fitted = [
                np.asarray(self._fit(Image.fromarray(band), padding))
                for band, padding in zip(bands, self._padding, strict=True)
            ]
            return np.stack(fitted, axis=2)
        converted = self._convert(whole)
        padding = self._padding if len(self._padding) > 1 else self._padding[0]
        pixels = np.array(self._fit(converted, padding)).reshape(self.shape)
        if self.channels in (2, 4):
            pixels[pixels[:, :, -1] == 0] = 0  # the colour of what is invisible
        return pixels

    def removed(self, width: int, height: int) -> float:
        """Return the share of an image of this size that cropping removes, 0 to 1."""
        inner_width, inner_height = width, height
        if self.crop:
            inner_width, inner_height = min(width, self.crop), min(height, self.crop)
        (left, top, right, bottom), _ = self._placement(inner_width, inner_height)
        return 1 - (right - left) * (bottom - top) / (width * height)

    def _fit(self, image: Image.Image, padding: Any) -> Image.Image:
        """Bring an image of any size to that of the result; bars have the colour `padding`."""
        box, (left, top, width, height) = self._placement(*image.size)
        resized = image.resize((width, height), BICUBIC, box)
        if resized.size == self.shape[1::-1]:
            return resized
        around = Image.new(image.mode, self.shape[1::-1], padding)
        around.paste(resized, (left, top))
        return around

    def _placement(self, width: int, height: int) -> tuple[Box, tuple[int, int, int, int]]:
        """Return which part of an image is used, and where it lies in the result.

        That is left, top, width and height, the whole result unless the image is padded. One
        resize of a part equals a resize and a crop, but an image of 1x60000 pixels takes no memory
        in between.
        """
        target_height, target_width, _ = self.shape
        whole = (0.0, 0.0, float(width), float(height))
        is_wider = width * target_height > height * target_width  # than the result
        if self.fit == "stretch" or width * target_height == height * target_width:
            return whole, (0, 0, target_width, target_height)
        if self.fit == "pad":
            if is_wider:
                used = max(1, round(target_width * height / width))
                return whole, (0, (target_height - used) // 2, target_width, used)
            used = max(1, round(target_height * width / height))
            return whole, ((target_width - used) // 2, 0, used, target_height)
        # Size of the whole image after resizing, then the crop in it, mapped back to the image.
        if is_wider:
            scaled = target_height * width // height
            left, across = round((scaled - target_width) / 2), width / scaled
            box = (left * across, 0.0, (left + target_width) * across, float(height))
        else:
            scaled = target_width * height // width
            top, down = round((scaled - target_height) / 2), height / scaled
            box = (0.0, top * down, float(width), (top + target_height) * down)
        return box, (0, 0, target_width, target_height)

    def _convert(self, image: Image.Image) -> Image.Image:
        """Convert to the mode of the result."""
        if self.channels in (1, 3):
            return _convert(_flatten(image, self.background), MODES[self.channels])
        if self.channels not in MODES:
            raise ImageError(
                f"it has the mode {image.mode}, and --channels {self.channels} needs as many bands,"
                " as arrays and TIFF can have"
            )
        # Some modes convert to LA by way of RGBA only.
        return _convert(_convert(image, "RGBA"), MODES[self.channels])

    @property
    def _padding(self) -> tuple[int, ...]:
        """The value of each channel around a padded image: the background, else 0 (transparent)."""
        if self.channels == 3:
            return self.background
        if self.channels == 1:
            return (_grey(self.background),)
        return (0,) * self.channels


def parse_colour(text: str) -> Colour:
    """Parse a CSS colour: `"white"`, `"#00ff00"`, `"rgb(0, 255, 0)"`.

    Raises:
        UsageError: `text` is no colour.
    """
    try:
        return Image.new("RGB", (1, 1), text).getpixel((0, 0))  # type: ignore[return-value]
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"--background {text!r} is not a colour: use a CSS name such as white, or #rrggbb"
        ) from exc


def _grey(colour: Colour) -> int:
    """The brightness of a colour, as Pillow converts it."""
    return int(np.asarray(Image.new("RGB", (1, 1), colour).convert("L"))[0, 0])


def _crop(image: RawImage, size: int) -> RawImage:
    """Crop the centre like torchvision's CenterCrop, but without padding."""
    if size == 0:
        return image
    whole = image_size(image)
    width, height = (min(size, side) for side in whole)
    left, top = round((whole[0] - width) / 2), round((whole[1] - height) / 2)
    if isinstance(image, np.ndarray):
        return image[top : top + height, left : left + width]
    info = image.info
    cropped = image.crop((left, top, left + width, top + height))
    cropped.info = info  # crop() drops it; it names the transparent colour
    return cropped


def _eight_bits(
    image: RawImage, data_range: DataRange | None
) -> Image.Image | npt.NDArray[np.uint8]:
    """Map values to 8 bits: Pillow's `convert` would clip them."""
    if isinstance(image, np.ndarray):
        return to_bytes(image, data_range)
    if not image.mode.startswith(("I", "F")):
        return image if data_range is None else _stretch(image, data_range)
    values = np.asarray(image)
    grey = Image.fromarray(
        to_bytes(_sixteen_bits(values) if data_range is None else file_values(image), data_range)
    )
    hidden = image.info.get("transparency")  # the value that PNG's tRNS makes transparent
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _sixteen_bits(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return the 32-bit integers of Pillow's mode I as uint16, which some readers put into it."""
    if values.dtype != np.int32:
        return values
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            "it has values outside 0 to 65535: train with --range LOW,HIGH, the values of black"
            " and white, or prepare with --size and --range"
        )
    return values.astype(np.uint16)


def _stretch(image: Image.Image, data_range: DataRange) -> Image.Image:
    """Apply a range to the colours of an 8-bit image, and not to its alpha."""
    colours = "L" if image.mode in GREY_MODES else "RGB"
    values = np.rint(np.arange(256) * (image.info.get(FILE_WHITE, 255) / 255))
    table = to_bytes(values, data_range).tolist() * len(colours)
    if image.has_transparency_data:
        return _convert(image, f"{colours}A").point(table + list(range(256)))
    return _convert(image, colours).point(table)


def _select_bands(bands: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Return `channels` bands of `[height, width, bands]`: of colours, grey, or all.

    Raises:
        ImageError: which of the bands are meant is unknown.
    """
    found = bands.shape[2]
    if found == channels:
        return bands
    if channels == 3 and found in (1, 4):
        return np.broadcast_to(bands, (*bands.shape[:2], 3)) if found == 1 else bands[:, :, :3]
    if channels == 1 and found in (3, 4):
        colours = np.ascontiguousarray(bands[:, :, :3])
        return np.asarray(Image.fromarray(colours).convert("L"))[:, :, None]
    raise ImageError(f"it has {found} bands, not {channels}: give --channels {found}")


def _flatten(image: Image.Image, background: Colour) -> Image.Image:
    """Composite alpha, a transparent palette entry or a transparent colour over `background`."""
    if not image.has_transparency_data:
        return image if image.mode in GREY_MODES else _convert(image, "RGB")
    above = _convert(image, "RGBA")
    below = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(below, above).convert("RGB")


def _convert(image: Image.Image, mode: str) -> Image.Image:
    try:
        return image.convert(mode)
    except (ValueError, OSError) as exc:
        raise ImageError(f"its mode {image.mode} cannot be converted: {exc}") from exc
