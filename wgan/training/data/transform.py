"""Transform: an image of any mode and shape to square uint8 pixels."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError, UsageError
from wgan.training.data.sources import GREY_MODES

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

    @classmethod
    def from_config(cls, config: "TrainConfig") -> Self:
        """Transform of a training run. Raises UsageError for an unknown background colour."""
        return cls(
            size=config.size,
            channels=config.channels,
            crop=config.crop,
            background=parse_colour(config.background),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the result."""
        return self.size, self.size, self.channels

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Convert `image` to uint8 `[size, size, channels]`.

        Transparency is composited over the background before resizing; otherwise the invisible
        colours of transparent pixels would bleed into their neighbours. Then the shorter side is
        resized to `size` (bicubic, antialiased), and the centre is cropped. An image smaller than
        `crop` is not padded.

        Raises:
            ImageError: the mode has no standard range, as with floating point.
        """
        flat = _flatten(_eight_bits(_crop(image, self.crop)), self.background)
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


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Crop the centre like torchvision's CenterCrop, but without padding."""
    if size == 0:
        return image
    width, height = (min(size, side) for side in image.size)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    info = image.info
    cropped = image.crop((left, top, left + width, top + height))
    cropped.info = info  # crop() drops it; it names the transparent colour
    return cropped


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits: Pillow's `convert` would clip it. Other modes are unchanged."""
    if image.mode == "F":
        raise ImageError("it has floating-point values, which have no standard range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("it has values outside 0 to 65535")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    hidden = image.info.get("transparency")  # the value that PNG's tRNS makes transparent
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


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
