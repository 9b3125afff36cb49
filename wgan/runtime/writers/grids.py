"""A grid of all images in one file: PNG, WebP or JPEG."""

import sys
from pathlib import Path

from wgan.errors import OutputError, UsageError
from wgan.files import write_whole
from wgan.images import MAX_SIDES, Encoding, collect, grid, grid_shape
from wgan.runtime.job import Job

GRID_PIXEL_LIMIT = 2**28
"""Most pixels of a grid: it has to fit into memory several times."""

_ENCODINGS: dict[str, Encoding] = {
    "": "PNG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
}


def write_grid(path: Path, job: Job) -> None:
    """Write all images row by row; `-` is standard output.

    Raises:
        UsageError: the grid has no room for the images, or is too large for the format.
        OutputError: the file cannot be written.
    """
    kind = _ENCODINGS[path.suffix.lower()]
    is_whole = len(job.positions) == len(job.source)
    own_shape = job.source.grid_shape if is_whole else None
    shape = job.config.grid or own_shape or grid_shape(len(job.positions))
    _check_size(job, shape, kind)
    if path.name == "-" and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: send the PNG to a file or a program")
    batches = (batch.images for batch in job.batches())
    pixels = collect(batches, len(job.positions), job.image_shape)
    data = job.encode(grid(pixels, shape), job.positions, kind)
    if path.name != "-":
        write_whole(path, data)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as exc:
        raise OutputError(f"cannot write to standard output: {exc.strerror}") from exc


def _check_size(job: Job, shape: tuple[int, int], kind: Encoding) -> None:
    rows, columns = shape
    if rows * columns < len(job.positions):
        raise UsageError(f"a grid of {rows}x{columns} has no room for {len(job.positions)} images")
    height, width = rows * job.image_shape[0], columns * job.image_shape[1]
    if height * width > GRID_PIXEL_LIMIT or max(height, width) > MAX_SIDES[kind]:
        raise UsageError(
            f"a {kind} of {width}x{height} pixels is too large: generate fewer images, or write a"
            " folder (out/) or an archive (out.tar)"
        )
