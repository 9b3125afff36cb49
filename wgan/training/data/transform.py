"""Transform: an image of any mode and shape to square uint8 pixels."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError, UsageError
from wgan.training.data.data_range import DataRange, parse_data_range, to_bytes
from wgan.training.data.sources import GREY_MODES, SIXTEEN_BITS, RawImage, image_size

if TYPE_CHECKING:
    from wgan.training.config import TrainConfig

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How an image becomes training pixels."""

    size: int  # height and width of the result, in pixels
    channels: int  # 1 for grey, 3 for colour
    crop: int = 0  # side in pixels of a centre crop before resizing; 0: no crop
    background: Colour = WHITE  # under transparent pixels
    data_range: DataRange | None = None  # values of black and white; None: those of the type

    @classmethod
    def from_config(cls, config: "TrainConfig") -> Self:
        """Transform of a training run. Raises UsageError for an unknown background colour."""
        return cls(
            size=config.size,
            channels=config.channels,
            crop=config.crop,
            background=parse_colour(config.background),
            data_range=parse_data_range(config.data_range),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return self.size, self.size, self.channels

    def identity(self) -> dict[str, Any]:
        """Return the fields for keys of caches and streams, as JSON.

        Fields that 0.1.0 did not have are left out at their default, so that its runs resume.
        """
        fields = asdict(self)
        if self.data_range is None:
            del fields["data_range"]
        return fields

    def __call__(self, image: RawImage) -> npt.NDArray[np.uint8]:
        """Convert `image` to uint8 `[size, size, channels]`.

        Transparency is composited over the background before resizing; otherwise the invisible
        colours of transparent pixels would bleed into their neighbours. Then the shorter side is
        resized to `size` (bicubic, antialiased), and the centre is cropped. An image smaller than
        `crop` is not padded.

        Raises:
            ImageError: the values have no standard range, as with floating point, or the bands of
                an array do not suit the channels.
        """
        bytes_ = _eight_bits(_crop(image, self.crop), self.data_range)
        if isinstance(bytes_, np.ndarray):
            bands = np.moveaxis(
                _select_bands(bytes_, self.channels), 2, 0
            )  # (h, w, c) -> (c, h, w)
            resized = (np.asarray(_resize(Image.fromarray(band), self.size)) for band in bands)
            return np.stack(list(resized), axis=2)
        flat = _flatten(bytes_, self.background)
        square = _resize(_convert(flat, "L" if self.channels == 1 else "RGB"), self.size)
        return np.asarray(square).reshape(self.shape)


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
        to_bytes(_sixteen_bits(values) if data_range is None else values, data_range)
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
            "it has values outside 0 to 65535: give --range LOW,HIGH, the values of black and white"
        )
    return values.astype(np.uint16)


def _stretch(image: Image.Image, data_range: DataRange) -> Image.Image:
    """Apply a range to the colours of an 8-bit image, and not to its alpha."""
    colours = "L" if image.mode in GREY_MODES else "RGB"
    values = np.arange(256) * (257 if SIXTEEN_BITS in image.info else 1)
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


def _resize(image: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and crop the centre, in one pass.

    The result equals two passes, but an image of 1x60000 pixels takes no memory in between.
    """
    shorter = min(image.size)
    # Size of the whole image after resizing, then the crop in it, mapped back to `image`.
    width, height = (size * side // shorter for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return image.resize((size, size), Image.Resampling.BICUBIC, box)
