"""The images of a model card: a grid of samples, and a path through a few."""

import io

from wgan.images import encode, grid, to_pil, viewable
from wgan.runtime.generator import Generator

GRID_SIDE = 1024
"""Largest side of the grid in pixels, unless four images are wider."""

TILE_SIDE = 64
"""Pixels to which smaller images of the grid are enlarged."""

PATH_SIDE = 256
"""Pixels to which smaller images of the path are enlarged."""

PATH_SEEDS, FRAMES, FRAME_MS = range(5), 75, 60


def samples(generator: Generator) -> bytes:
    """Return a PNG of the first seeds: 8 by 8, or 4 by 4 of large images."""
    side = max(generator.image_shape[:2])
    columns = 8 if side * 8 <= GRID_SIDE else 4
    scale = max(1, TILE_SIDE // side)
    pixels = viewable(generator.sample(columns**2))
    return encode(grid(pixels.repeat(scale, axis=1).repeat(scale, axis=2), (columns, columns)))


def interpolation(generator: Generator) -> bytes:
    """Return an animated WebP of a closed path through the images of five seeds."""
    scale = max(1, PATH_SIDE // max(generator.image_shape[:2]))
    pixels = viewable(generator.interpolate(PATH_SEEDS, FRAMES))
    frames = [to_pil(each) for each in pixels.repeat(scale, axis=1).repeat(scale, axis=2)]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=FRAME_MS,
        loop=0,
        quality=85,
    )
    return buffer.getvalue()
