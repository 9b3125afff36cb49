"""Images to files: the ending of the output's name chooses the format."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wgan.errors import UsageError
from wgan.files import check_output, check_parent_folder
from wgan.image_shape import PIXEL_CHANNELS
from wgan.runtime.job import Job
from wgan.runtime.latent_sources import (
    InterpolatedLatents,
    LatentSource,
    MovedLatents,
    SeedLatents,
)

Write = Callable[[Path, Job], None]

Kind = Literal["grid", "folder", "array", "tar", "zip", "animation"]

STANDARD_OUTPUT = "-"

_KINDS: dict[str, Kind] = {
    ".png": "grid",
    ".webp": "grid",
    ".jpg": "grid",
    ".jpeg": "grid",
    ".npy": "array",
    ".npz": "array",
    ".tar": "tar",
    ".zip": "zip",
    ".gif": "animation",
    ".mp4": "animation",
}


OPAQUE = (".jpg", ".jpeg", ".mp4")
"""Endings of files without alpha."""


def write(out: str, job: Job) -> None:
    """Generate the images of `job` and write them to `out`.

    A name that ends in a slash is a folder with a PNG for each image, named by its key; `-` is
    a PNG on standard output. `.png`, `.webp` and `.jpg` are grids, `.npy` and `.npz` arrays,
    `.tar` and `.zip` archives of PNGs; `.gif`, `.webp` and `.mp4` animate an interpolation or
    a direction.

    Raises:
        UsageError: the ending is unknown, or does not go with the options.
        OutputError: it cannot be written; no incomplete file has the name `out`.
        MissingExtra: `.mp4` needs a package that is not installed.
        ModelFileError: the model cannot run.
    """
    kind = kind_of(out, job)
    _check_options(out, kind, job)
    if kind != "array":
        check_channels(out, job.image_shape[2])
    if kind in ("folder", "tar", "zip"):
        check_names(out, job.source)
    path = Path(out)
    if kind == "folder":
        check_parent_folder(path)
    elif out != STANDARD_OUTPUT:
        check_output(path)
    _writer(kind)(path, job)


def kind_of(out: str, job: Job) -> Kind:
    """Return the kind of output that `out` names.

    Raises:
        UsageError: its ending is unknown, or it is an animation and there is no path.
    """
    if out == STANDARD_OUTPUT:
        return "grid"
    if out.endswith(("/", os.sep)):  # a Windows path may end in either
        return "folder"
    ending = Path(out).suffix.lower()
    if ending not in _KINDS:
        raise UsageError(
            f"the output {out!r} is not allowed: end a folder in /, a file in"
            f" {', '.join(_KINDS)}, or write - for standard output"
        )
    is_path = isinstance(job.source, InterpolatedLatents | MovedLatents)
    if _KINDS[ending] == "animation" and not is_path:
        raise UsageError(
            f"{out} is an animation: give the seeds of its path with --interpolate, or --direction"
        )
    return "animation" if is_path and ending == ".webp" else _KINDS[ending]


def is_resumable(out: str, job: Job) -> bool:
    """Whether the same command resumes an interrupted `out` instead of starting again."""
    return kind_of(out, job) in ("folder", "tar")


def _check_options(out: str, kind: Kind, job: Job) -> None:
    config = job.config
    if config.images and kind != "array":
        raise UsageError(f"float images go into a .npy or .npz file, not into {out}")
    if config.grid is not None and kind != "grid":
        raise UsageError(f"{out} is not a grid: leave out --grid")
    is_png = kind in ("folder", "tar", "zip") or (
        kind == "grid" and Path(out).suffix.lower() in ("", ".png")
    )
    if config.metadata and not is_png:
        raise UsageError(f"metadata goes into PNG files, not into {out}")


def check_channels(out: str, channels: int) -> None:
    """Raise UsageError if an image file such as `out` cannot hold images of these channels."""
    if channels not in PIXEL_CHANNELS:
        raise UsageError(
            f"the images have {channels} channels, which {out} cannot hold: write a .npy or .npz"
        )
    if channels == 4 and Path(out).suffix.lower() in OPAQUE:
        raise UsageError(f"the images have alpha, which {out} cannot hold: write a .png or .webp")


def check_names(out: str, source: LatentSource) -> None:
    """Raise UsageError if two images would have the same name; grids and arrays may repeat."""
    if not isinstance(source, SeedLatents) or isinstance(source.seeds, range):
        return
    seen: set[str] = set()
    for position, seed in enumerate(source.seeds):
        name = source.name(position)
        if name in seen:
            label = "" if source.labelling is None else " and its class"
            raise UsageError(
                f"seed {seed} is given twice, and {out} names each image by its seed{label}: give"
                " it once"
            )
        seen.add(name)


def _writer(kind: Kind) -> Write:
    """Import the writer of this kind only: a grid needs no tarfile."""
    match kind:
        case "grid":
            from wgan.runtime.writers.grids import write_grid as write
        case "folder":
            from wgan.runtime.writers.folders import write_folder as write
        case "array":
            from wgan.runtime.writers.arrays import write_array as write
        case "tar":
            from wgan.runtime.writers.archives import write_tar as write
        case "zip":
            from wgan.runtime.writers.archives import write_zip as write
        case "animation":
            from wgan.runtime.writers.animations import write_animation as write
    return write
