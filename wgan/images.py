"""Images (float32, [-1, 1]) and pixels (uint8): conversion, grids, encoding, Pillow."""

import io
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.image_shape import PIXEL_CHANNELS

if TYPE_CHECKING:  # Pillow is imported where an image is encoded: arrays do not need it
    from PIL import Image

Images = npt.NDArray[np.float32]
"""`[n, channels, height, width]` in [-1, 1]."""

Pixels = npt.NDArray[np.uint8]
"""`[n, height, width, channels]`, 1 to MAX_CHANNELS channels."""

Encoding = Literal["PNG", "JPEG", "WEBP"]
"""Pillow's names of the image formats that are written."""

MAX_SIDES = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383, "GIF": 65535}
"""The longest side of each image format, in pixels."""

_SETTINGS: Mapping[Encoding, Mapping[str, Any]] = {
    # Half the time of Pillow's default 6, and generated images grow by less than 1 %.
    "PNG": {"compress_level": 4},
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
}


def to_pixels(images: Images) -> Pixels:
    """Map [-1, 1] to 0..255, rounded to nearest (halves to even), channels last."""
    scaled = np.rint((images + np.float32(1)) * np.float32(127.5))
    pixels: Pixels = np.clip(scaled, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def to_images(pixels: Pixels) -> Images:
    """Map 0..255 to [-1, 1], channels first; `to_pixels` is its exact inverse."""
    scaled = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5)
    return scaled - np.float32(1)


def grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns of the squarest grid for n images, at least as wide as high."""
    columns = math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def grid(pixels: Pixels, shape: tuple[int, int] | None = None) -> Pixels:
    """Arrange images row by row: `[n, h, w, c]` -> `[rows * h, columns * w, c]`.

    `shape` is (rows, columns), by default the squarest. Unused cells are white, or transparent.

    Raises:
        UsageError: the grid has fewer cells than there are images.
    """
    n, h, w, c = pixels.shape
    rows, columns = shape or grid_shape(n)
    if rows * columns < n:
        raise UsageError(f"a grid of {rows}x{columns} has no room for {n} images")
    cells = np.full((rows * columns, h, w, c), 0 if c == 4 else 255, dtype=np.uint8)
    cells[:n] = pixels
    # (rows * columns, h, w, c) -> (rows, h, columns, w, c)
    cells = cells.reshape(rows, columns, h, w, c).swapaxes(1, 2)
    return cells.reshape(rows * h, columns * w, c)


def enlarge(pixels: Pixels, side: int) -> Pixels:
    """Repeat the pixels of images `[..., h, w, c]` whose longer side is shorter than `side`."""
    scale = max(1, side // max(pixels.shape[-3:-1]))
    return pixels.repeat(scale, axis=-3).repeat(scale, axis=-2)


def collect(batches: Iterable[Pixels], n: int, shape: tuple[int, int, int]) -> Pixels:
    """Join batches of images: `[n, *shape]`.

    Not `numpy.concatenate`, which would need the memory of all images twice.
    """
    pixels = np.empty((n, *shape), np.uint8)
    done = 0
    for batch in batches:
        pixels[done : done + len(batch)] = batch
        done += len(batch)
    return pixels


def to_pil(pixels: Pixels) -> "Image.Image":
    """Convert one image, `[height, width, channels]`, to a Pillow image (mode L, RGB or RGBA).

        to_pil(generator.sample([7])[0]).save("seed7.png")
        to_pil(grid(generator.sample(range(64)))).show()

    Raises:
        UsageError: the array is not one image of uint8.
    """
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in PIXEL_CHANNELS:
        raise UsageError(
            f"an array of {pixels.dtype} {list(pixels.shape)} is not one image: uint8"
            " [height, width, channels] is needed, 1, 3 or 4 channels; arrange several images with"
            " wgan.images.grid, choose bands with wgan.images.viewable"
        )
    # Pillow takes grey images without an axis of channels only.
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def viewable(pixels: Pixels) -> Pixels:
    """Return what can be looked at of pixels `[..., channels]`: all of 1, 3 or 4 channels.

    Of two bands the first one, as grey; of more than four the first three, as colour.
    """
    channels = pixels.shape[-1]
    if channels in PIXEL_CHANNELS:
        return pixels
    return pixels[..., :1] if channels == 2 else pixels[..., :3]


def to_colour(pixels: Pixels) -> Pixels:
    """Convert pixels `[..., 1, 3 or 4]` to `[..., 3]`: grey is repeated, alpha laid over white."""
    if pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    if pixels.shape[-1] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / np.float32(255)
        above = pixels[..., :3].astype(np.float32) * alpha
        over_white: Pixels = np.rint(above + np.float32(255) * (1 - alpha)).astype(np.uint8)
        return over_white
    return pixels


def encode_bands(pixels: Pixels) -> bytes:
    """Encode one image `[height, width, channels]` as PNG without loss, whatever its channels.

    Bands that no PNG holds lie below each other in a grey one; `decode_bands` reads it.
    """
    if pixels.shape[2] in PIXEL_CHANNELS:
        return encode(pixels)
    return encode(np.concatenate(np.split(pixels, pixels.shape[2], axis=2)))


def decode_bands(png: bytes, channels: int) -> Pixels:
    """Decode what `encode_bands` wrote, `[height, width, channels]`.

    Raises:
        OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError: it is damaged.
    """
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        pixels = np.asarray(image)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if channels in PIXEL_CHANNELS:
        return pixels
    return np.concatenate(np.split(pixels, channels), axis=2)


def encode(pixels: Pixels, kind: Encoding = "PNG", texts: Mapping[str, str] | None = None) -> bytes:
    """Encode one image, `[height, width, channels]`; equal pixels give equal bytes.

    PNG and WebP are lossless. `texts` become text chunks of a PNG: keyword and text.
    """
    settings = dict(_SETTINGS[kind])
    if texts:
        from PIL.PngImagePlugin import PngInfo

        settings["pnginfo"] = chunks = PngInfo()
        for keyword, text in texts.items():
            chunks.add_text(keyword, text)
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format=kind, **settings)
    return buffer.getvalue()


def evenly_spaced(count: int, n: int) -> npt.NDArray[np.int64]:
    """Indices of `n` of `count` images, evenly spaced: data is often sorted by class."""
    return np.arange(n, dtype=np.int64) * count // n
