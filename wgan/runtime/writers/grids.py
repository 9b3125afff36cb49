"""All images in one: PNG, WebP or JPEG."""

import sys
from pathlib import Path

import numpy as np

from wgan.errors import OutputError, UsageError
from wgan.files import write_whole
from wgan.images import Encoding, Pixels, grid, grid_shape
from wgan.runtime.job import Job

SIDE_LIMIT = {"PNG": 2**31 - 1, "WEBP": 16383, "JPEG": 65500}
"""The longest side that each encoding can have."""

PIXEL_LIMIT = 2**28
"""A grid of more pixels is refused: it has to fit into memory several times over."""

_ENCODINGS: dict[str, Encoding] = {
    "": "PNG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


def write_grid(path: Path, job: Job) -> None:
    """Write all images row by row; the name `-` is standard output.

    Raises:
        UsageError: the grid has no room for the images, or is larger than can be encoded.
        OutputError: it cannot be written.
    """
    kind = _ENCODINGS[path.suffix.lower()]
    shape = job.options.grid or grid_shape(len(job.positions))
    _check_size(job, shape, kind)
    if path.name == "-" and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: send the PNG to a file or a program")
    data = job.encode(grid(_all(job), shape), list(map(job.source.key, job.positions)), kind)
    if path.name == "-":
        _to_standard_output(data)
    else:
        write_whole(path, data)


def _all(job: Job) -> Pixels:
    channels = job.generator.image_shape[2]
    pixels = np.empty((len(job.positions), job.height, job.width, channels), np.uint8)
    done = 0
    for drawn in job.batches():
        pixels[done : done + len(drawn.images)] = drawn.images
        done += len(drawn.images)
    return pixels


def _check_size(job: Job, shape: tuple[int, int], kind: Encoding) -> None:
    rows, columns = shape
    if rows * columns < len(job.positions):
        raise UsageError(f"a grid of {rows}x{columns} has no room for {len(job.positions)} images")
    height, width = rows * job.height, columns * job.width
    if height * width > PIXEL_LIMIT or max(height, width) > SIDE_LIMIT[kind]:
        raise UsageError(
            f"a {kind} of {width}x{height} pixels is too large: draw fewer images, or write a"
            " folder (out/) or an archive (out.tar)"
        )


def _to_standard_output(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        raise OutputError(f"cannot write to standard output: {exc.strerror}") from exc
