"""An image of any mode and shape to a square of pixels: one function, and what steers it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ImageError, UsageError
from wgan.training.data.sources.source import GREY_MODES

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How images become training pixels."""

    size: int  # height and width of the result, in pixels
    channels: int  # 1 for grey, 3 for colour
    crop: int = 0  # cut out the middle, so many pixels each way, before anything else; 0: all
    background: Colour = WHITE  # what alpha is laid over

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: height, width, channels."""
        return self.size, self.size, self.channels

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Make `image` uint8 `[size, size, channels]`.

        Alpha is laid over the background before resizing: the hidden colours of transparent pixels
        would bleed into the rest. Then the shorter side is resized to `size` (bicubic,
        antialiased), and the centre is cut out. An image smaller than `crop` is not padded.

        Raises:
            ImageError: the mode has no agreed range, as floating point has not.
        """
        flat = _flatten(_eight_bits(_crop(image, self.crop)), self.background)
        square = _resize(_convert(flat, "L" if self.channels == 1 else "RGB"), self.size)
        return np.asarray(square).reshape(self.shape)


def parse_colour(text: str) -> Colour:
    """Read a colour as CSS writes it: `"white"`, `"#00ff00"`, `"rgb(0, 255, 0)"`.

    Raises:
        UsageError: something else is written.
    """
    try:
        return Image.new("RGB", (1, 1), text).getpixel((0, 0))  # type: ignore[return-value]
    except (ValueError, OverflowError) as exc:
        raise UsageError(
            f"--background {text!r} is not a colour: write a name or #rrggbb, as in white"
        ) from exc


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Cut out the middle as torchvision's CenterCrop does, but without padding."""
    if size == 0:
        return image
    width, height = (min(size, side) for side in image.size)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    info = image.info
    cropped = image.crop((left, top, left + width, top + height))
    cropped.info = info  # keeps the transparent colour
    return cropped


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, which Pillow's `convert` would clip; leave the rest."""
    if image.mode == "F":
        raise ImageError("it holds floating-point values, which have no agreed range")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("it holds values outside 0 to 65535")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    hidden = image.info.get("transparency")  # the one value that PNG's tRNS makes transparent
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _flatten(image: Image.Image, background: Colour) -> Image.Image:
    """Lay alpha, a transparent palette entry or a transparent colour over the background."""
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
    """Resize the shorter side to `size` and cut out the centre, in one pass.

    Equal to doing one after the other, but an image of 1x60000 pixels stays small on the way.
    """
    shorter = min(image.size)
    # The whole image's size had it been resized, and where the centre would be cut out of it.
    width, height = (size * side // shorter for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return image.resize((size, size), Image.Resampling.BICUBIC, box)
