"""A picture of any mode and shape to a square of pixels: one function, and what steers it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import PictureError, UsageError
from wgan.training.data.source import GREY_MODES

Colour = tuple[int, int, int]
"""Red, green and blue, each 0 to 255."""

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Transform:
    """How pictures become training pixels."""

    size: int  # height and width of the result, in pixels
    channels: int  # 1 for grey, 3 for colour
    crop: int = 0  # cut out the middle, so many pixels each way, before anything else; 0: all
    background: Colour = WHITE  # what alpha is laid over

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the result: height, width, channels."""
        return self.size, self.size, self.channels

    def __call__(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """Make `picture` uint8 `[size, size, channels]`.

        Alpha is laid over the background before resizing: the hidden colours of transparent pixels
        would bleed into the rest. Then the shorter side is resized to `size` (bicubic,
        antialiased), and the centre is cut out. A picture smaller than `crop` is not padded.

        Raises:
            PictureError: the mode has no agreed range, as floating point has not.
        """
        flat = _flatten(_eight_bits(_crop(picture, self.crop)), self.background)
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


def _crop(picture: Image.Image, size: int) -> Image.Image:
    """Cut out the middle as torchvision's CenterCrop does, but without padding."""
    if size == 0:
        return picture
    width, height = (min(size, side) for side in picture.size)
    left, top = round((picture.width - width) / 2), round((picture.height - height) / 2)
    info = picture.info
    cropped = picture.crop((left, top, left + width, top + height))
    cropped.info = info  # keeps the transparent colour
    return cropped


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, which Pillow's `convert` would clip; leave the rest."""
    if picture.mode == "F":
        raise PictureError("it holds floating-point values, which have no agreed range")
    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise PictureError("it holds values outside 0 to 65535")
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    hidden = picture.info.get("transparency")  # the one value that PNG's tRNS makes transparent
    if hidden is not None:
        grey.putalpha(Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return grey


def _flatten(picture: Image.Image, background: Colour) -> Image.Image:
    """Lay alpha, a transparent palette entry or a transparent colour over the background."""
    if not picture.has_transparency_data:
        return picture if picture.mode in GREY_MODES else _convert(picture, "RGB")
    above = _convert(picture, "RGBA")
    below = Image.new("RGBA", picture.size, background)
    return Image.alpha_composite(below, above).convert("RGB")


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    try:
        return picture.convert(mode)
    except (ValueError, OSError) as exc:
        raise PictureError(f"its mode {picture.mode} cannot be converted: {exc}") from exc


def _resize(picture: Image.Image, size: int) -> Image.Image:
    """Resize the shorter side to `size` and cut out the centre, in one pass.

    Equal to doing one after the other, but a picture of 1x60000 pixels stays small on the way.
    """
    shorter = min(picture.size)
    # The whole picture's size had it been resized, and where the centre would be cut out of it.
    width, height = (size * side // shorter for side in picture.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    across, down = picture.width / width, picture.height / height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box)
