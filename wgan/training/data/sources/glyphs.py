"""Built-in data sets: letters and digits in random colours, sizes and angles."""

import colorsys
import functools
import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wgan.training.data.sources import ImageSource, Labels

DEFAULT_COUNT = 20_000
"""Default number of images."""

VERSION = 1
"""Increased whenever an index yields another image than before."""

CHARACTERS = string.ascii_uppercase + string.digits


@dataclass(frozen=True)
class GlyphStyle:
    """How much the images of a set differ."""

    angle: float  # largest rotation, in radians
    scale: tuple[float, float]
    shift: float  # largest, as a share of the image's side
    dark_ink: bool  # whether half of the characters are dark on a light background


STYLES: Mapping[str, GlyphStyle] = MappingProxyType(
    {
        # The default of wgan train: little enough to learn that minutes of a CPU give letters.
        "letters": GlyphStyle(angle=0.15, scale=(0.95, 1.15), shift=0.04, dark_ink=False),
        "glyphs": GlyphStyle(angle=0.4, scale=(0.8, 1.15), shift=0.08, dark_ink=True),
    }
)
"""The built-in data sets by name."""

MASK_WIDTH = 1.5
"""Width of a character's mask relative to the image, so that a rotation clips nothing."""


class GlyphSource(ImageSource):
    """Letters and digits in Pillow's default font; image k depends on k and the size only."""

    can_be_surveyed = False

    def __init__(self, count: int = DEFAULT_COUNT, name: str = "glyphs") -> None:
        super().__init__(name)
        self._count, self._style = count, STYLES[name]
        self.class_names = tuple(CHARACTERS)

    @functools.cached_property
    def labels(self) -> Labels:  # type: ignore[override]
        """Which character each image shows."""
        random = np.random.RandomState(0)  # creating one takes 20 times as long as seeding it
        numbers = []
        for index in range(self._count):
            random.seed(index)
            numbers.append(_number(random))
        return np.array(numbers, np.int64)

    def __len__(self) -> int:
        return self._count

    @property
    def channels(self) -> int:
        """Always colour."""
        return 3

    def image_name(self, index: int) -> str:
        """Index of the image."""
        return f"glyph {index}"

    def character(self, index: int) -> str:
        """Which letter or digit image `index` shows."""
        return CHARACTERS[_number(np.random.RandomState(index))]

    def image(self, index: int, size: int) -> Image.Image:
        """Draw image `index` with `size` x `size` pixels."""
        random = np.random.RandomState(index)  # frozen stream (NEP 19)
        character = CHARACTERS[_number(random)]
        mask = _distort(_mask(character, 2 * size), size, random, self._style)
        background, ink = _colours(random, self._style)
        image = Image.new("RGB", (size, size), background)
        image.paste(ink, mask=mask)
        return image

    def fingerprint(self) -> str:
        """Version of the drawing and number of images."""
        return f"{self.name} {VERSION} {self._count}"


def _number(random: np.random.RandomState) -> int:
    """Which character an image shows: the first draw of its stream."""
    return int(random.randint(len(CHARACTERS)))


def _distort(
    mask: Image.Image, size: int, random: np.random.RandomState, style: GlyphStyle
) -> Image.Image:
    """Rotate, scale and move a character; returns a mask (mode L) of `size` pixels."""
    angle = random.uniform(-style.angle, style.angle)
    scale = random.uniform(*style.scale)
    right, down = random.uniform(-style.shift, style.shift, 2) * 2 * size
    # Draw at twice the size and halve it: antialiasing. Pillow's transform takes the inverse map,
    # from a pixel of the result to its position in the mask.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    middle = mask.width / 2
    x, y = size + right, size + down  # the centre of the doubled result, moved
    matrix = (cos, sin, middle - cos * x - sin * y, -sin, cos, middle + sin * x - cos * y)
    doubled = mask.transform(
        (2 * size, 2 * size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return doubled.reduce(2)


def _colours(
    random: np.random.RandomState, style: GlyphStyle
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Background and ink: one light and one dark, of different hues."""
    hue = random.uniform()
    other = hue + random.uniform(0.2, 0.8)
    light = _rgb(hue, random.uniform(0.1, 0.5), random.uniform(0.9, 1.0))
    dark = _rgb(other, random.uniform(0.6, 1.0), random.uniform(0.15, 0.45))
    return (light, dark) if style.dark_ink and random.uniform() < 0.5 else (dark, light)


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


@functools.lru_cache(maxsize=4 * len(CHARACTERS))
def _mask(character: str, size: int) -> Image.Image:
    """Draw a bold character in the centre of a square mask, for images of `size` pixels."""
    width = round(MASK_WIDTH * size)
    font = ImageFont.load_default(0.9 * size)
    mask = Image.new("L", (width, width))
    stroke = size / 22
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font, stroke_width=stroke)
    position = ((width - left - right) / 2, (width - top - bottom) / 2)
    draw.text(position, character, fill=255, font=font, stroke_width=stroke)
    return mask
