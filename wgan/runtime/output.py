"""Pictures to files: a grid in one file, or a folder with a file for each seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wgan.errors import OutputError, UsageError
from wgan.files import write_whole
from wgan.images import encode, grid
from wgan.progress import Progress
from wgan.runtime.generator import Generator


def write_pictures(
    out: str,
    generator: Generator,
    seeds: Sequence[int],
    batch_size: int,
    shape: tuple[int, int] | None = None,
) -> None:
    """Draw `seeds` into `out`: a PNG grid of `shape`, or a folder when it ends in a slash.

    Raises:
        UsageError: `out` has an ending that is not known.
        OutputError: it cannot be written.
    """
    if out.endswith("/"):
        write_folder(Path(out), generator, seeds, batch_size)
    elif out.lower().endswith(".png"):
        write_grid(Path(out), generator, seeds, batch_size, shape)
    else:
        raise UsageError(
            f"the output {out!r} is not allowed: name a .png file for a grid, or a folder with"
            " a / at its end for a file each"
        )


def write_grid(
    path: Path,
    generator: Generator,
    seeds: Sequence[int],
    batch_size: int,
    shape: tuple[int, int] | None,
) -> None:
    """Draw all `seeds` as one PNG."""
    if not path.parent.is_dir():  # before the work, not after it
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist")
    with Progress(len(seeds), "sampling", "images") as progress:
        batches = []
        for pixels in generator.stream(seeds, batch_size):
            batches.append(pixels)
            progress.advance(len(pixels))
    write_whole(path, encode(grid(np.concatenate(batches), shape)))


def write_folder(path: Path, generator: Generator, seeds: Sequence[int], batch_size: int) -> None:
    """Draw each of `seeds` into a PNG of its own, `00000042.png`; makes the folder."""
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError as exc:
        raise OutputError(f"cannot make {path}: the folder {path.parent} does not exist") from exc
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {exc.strerror}") from exc
    with Progress(len(seeds), "sampling", "images") as progress:
        done = 0
        for pixels in generator.stream(seeds, batch_size):
            for seed, picture in zip(seeds[done : done + len(pixels)], pixels, strict=True):
                write_whole(path / f"{seed:08d}.png", encode(picture))
            done += len(pixels)
            progress.advance(len(pixels))
