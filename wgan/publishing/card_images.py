"""The images of a model card: a grid of samples, and a path through a few."""

import io

from wgan.images import encode, enlarge, grid, to_pil, viewable
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
    pixels = enlarge(viewable(generator.sample(columns**2)), TILE_SIDE)
    return encode(grid(pixels, (columns, columns)))


def interpolation(generator: Generator) -> bytes:
    """Return an animated WebP of a closed path through the images of five seeds."""
    pixels = viewable(generator.interpolate(PATH_SEEDS, FRAMES))
    frames = [to_pil(each) for each in enlarge(pixels, PATH_SIDE)]
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
