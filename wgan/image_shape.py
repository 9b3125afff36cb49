"""The shape of images: a size is a number for a square, HEIGHTxWIDTH for a rectangle."""

import re

from wgan.errors import UsageError
from wgan.text import shorten

Size = int | str
"""`64`, or `"48x80"` for 48 rows of 80 pixels: as in config.json and on the command line."""

PATTERN = r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}"
"""Regular expression of a rectangle."""

MAX_CHANNELS = 16
"""Most channels of an image."""

PIXEL_CHANNELS = (1, 3, 4)
"""Channels of images that image files hold: grey, colour, and colour with alpha.

Only these have pixels in an exported graph; others have only float images.
"""

TRAINED_SIDE_LIMIT = 8192
"""Longest side that is trained on, in pixels."""

SIDES = range(16, 512 + 1, 4)
"""Heights and widths that the built-in networks generate."""

SIDES_TEXT = f"a multiple of {SIDES.step} from {SIDES[0]} to {SIDES[-1]}"

FITS = ("crop", "pad", "stretch")
"""How an image of another shape becomes one of this size.

crop: as large as needed to cover it, and the centre. pad: as large as fits in, with bars of the
background. stretch: height and width each scaled by a factor of its own.
"""


def parse_size(text: str) -> Size:
    """Parse `"64"` or `"48x80"`.

    Raises:
        UsageError: the text has another form.
    """
    if text.isascii() and text.isdigit() and len(text) <= 6:
        return int(text)
    if re.fullmatch(PATTERN, text.lower()):
        height, width = height_and_width(text.lower())
        return to_size(height, width)
    raise UsageError(
        f"--size {shorten(text)} is not allowed: it must be a number of pixels, as in 64, or"
        " HEIGHTxWIDTH, as in 48x80"
    )


def height_and_width(size: Size) -> tuple[int, int]:
    """Return the sides in pixels; a text has the form HEIGHTxWIDTH."""
    if isinstance(size, int):
        return size, size
    height, _, width = size.partition("x")
    return int(height), int(width)


def to_size(height: int, width: int) -> Size:
    """Return the size with these sides."""
    return height if height == width else f"{height}x{width}"


def channels_text(channels: int) -> str:
    """Describe the channels of images: "grey", "colour", "5 bands"."""
    named = {1: "grey", 3: "colour", 4: "colour and alpha"}
    return named.get(channels, f"{channels} bands")


def check_size(size: Size, *, built_in: bool) -> None:
    """Check the sides of a run's images; those of built-in networks are in SIDES.

    Raises:
        UsageError: a side is not allowed.
    """
    sides = height_and_width(size)
    if built_in and not all(side in SIDES for side in sides):
        raise UsageError(
            f"--size {size} is not allowed: it must be {SIDES_TEXT}, or two of these as in 48x80;"
            " networks of your own take any size (docs/own-networks.md)"
        )
    if max(sides) > TRAINED_SIDE_LIMIT:
        raise UsageError(
            f"--size {size} is not allowed: it must be at most {TRAINED_SIDE_LIMIT} pixels a side"
        )
