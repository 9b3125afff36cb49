"""The built-in data: letters and digits in random colours, sizes and angles."""

import colorsys
import functools
import math
import string

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wgan.training.data.sources.source import ImageSource

COUNT = 20_000
"""How many images there are, unless said otherwise."""

VERSION = 1
"""Raised when the same index gives another image than before."""

CHARACTERS = string.ascii_uppercase + string.digits

MARGIN = 1.5
"""A character's mask is this many times as wide as an image: nothing is cut off when turned."""


class GlyphSource(ImageSource):
    """Letters and digits drawn with Pillow's own font; image k depends on k and size alone."""

    def __init__(self, count: int = COUNT) -> None:
        super().__init__("glyphs")
        self._count = count

    def __len__(self) -> int:
        return self._count

    @property
    def channels(self) -> int:
        """Always coloured."""
        return 3

    def label(self, index: int) -> str:
        """The image's number."""
        return f"glyph {index}"

    def image(self, index: int, size: int) -> Image.Image:
        """Draw image `index`, with `size` pixels each way."""
        random = np.random.RandomState(index)  # its stream is frozen (NEP 19)
        character = CHARACTERS[random.randint(len(CHARACTERS))]
        mask = _place(_mask(character, 2 * size), size, random)
        background, ink = _colours(random)
        image = Image.new("RGB", (size, size), background)
        image.paste(ink, mask=mask)
        return image

    def fingerprint(self) -> str:
        """The version of the drawing and how many there are."""
        return f"glyphs {VERSION} {self._count}"


def _place(mask: Image.Image, size: int, random: np.random.RandomState) -> Image.Image:
    """Turn, scale and move a character: a mask (mode L) of `size` pixels."""
    angle = random.uniform(-0.4, 0.4)  # radians
    scale = random.uniform(0.8, 1.15)
    right, down = random.uniform(-0.08, 0.08, 2) * 2 * size
    # Drawn twice as large and halved, which smooths the edges. The transform asks, for each pixel
    # of the result, where in the mask it comes from.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    centre = size  # of the doubled result
    middle = mask.width / 2
    x, y = centre + right, centre + down
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    doubled = mask.transform(
        (2 * size, 2 * size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return doubled.reduce(2)


def _colours(random: np.random.RandomState) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Background and ink: one light and one dark, their hues apart."""
    hue = random.uniform()
    other = hue + random.uniform(0.2, 0.8)
    light = _rgb(hue, random.uniform(0.1, 0.5), random.uniform(0.9, 1.0))
    dark = _rgb(other, random.uniform(0.6, 1.0), random.uniform(0.15, 0.45))
    return (light, dark) if random.uniform() < 0.5 else (dark, light)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.lru_cache(maxsize=4 * len(CHARACTERS))
def _mask(character: str, size: int) -> Image.Image:
    """One character in the middle of a square, with bold strokes, for images of `size` pixels."""
    width = round(MARGIN * size)
    font = ImageFont.load_default(0.9 * size)
    mask = Image.new("L", (width, width))
    stroke = size / 22
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font, stroke_width=stroke)
    place = ((width - left - right) / 2, (width - top - bottom) / 2)
    draw.text(place, character, fill=255, font=font, stroke_width=stroke)
    return mask
