"""Images to files: the ending of a name says what is written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wgan.errors import UsageError
from wgan.files import check_parent_folder
from wgan.runtime.job import Job
from wgan.runtime.latent_sources import LatentSource, Loop, Seeds

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


def write(out: str, job: Job) -> None:
    """Draw `job` and write it to `out`.

    A name that ends in a slash is a folder with a PNG for each image, named by its key; `-` is
    a PNG on standard output. `.png`, `.webp` and `.jpg` are grids, `.npy` and `.npz` arrays,
    `.tar` and `.zip` archives of PNGs; `.gif`, `.webp` and `.mp4` animate an interpolation.

    Raises:
        UsageError: there is no such ending, or it does not go with the options.
        OutputError: it cannot be written; nothing stands under the name.
        MissingExtra: `.mp4` needs a package that is not installed.
        ModelFileError: the model cannot draw.
    """
    kind = kind_of(out, job)
    _check_options(out, kind, job)
    if kind in ("folder", "tar", "zip"):
        check_names(out, job.source)
    path = Path(out)
    if out != STANDARD_OUTPUT:
        check_parent_folder(path)
    _writer(kind)(path, job)


def kind_of(out: str, job: Job) -> Kind:
    """What `out` is to become.

    Raises:
        UsageError: its ending is none of those that are known, or an animation of what stands
            still.
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
    moves = isinstance(job.source, Loop)
    if _KINDS[ending] == "animation" and not moves:
        raise UsageError(f"{out} is an animation: say which seeds it passes with --interpolate")
    return "animation" if moves and ending == ".webp" else _KINDS[ending]


def goes_on(out: str, job: Job) -> bool:
    """Whether the same command goes on with an interrupted `out`, rather than begin again."""
    return kind_of(out, job) in ("folder", "tar")


def _check_options(out: str, kind: Kind, job: Job) -> None:
    options = job.options
    if options.floats and kind != "array":
        raise UsageError(f"float images go into a .npy or .npz file, not into {out}")
    if options.grid is not None and kind != "grid":
        raise UsageError(f"{out} is no grid: leave out --grid")
    is_png = kind in ("folder", "tar", "zip") or (
        kind == "grid" and Path(out).suffix.lower() in ("", ".png")
    )
    if options.metadata and not is_png:
        raise UsageError(f"metadata goes into PNG files, not into {out}")


def check_names(out: str, source: LatentSource) -> None:
    """Raise UsageError where two images would have one name; a grid or an array may repeat."""
    if not isinstance(source, Seeds) or isinstance(source.seeds, range):
        return
    seen: set[int] = set()
    for seed in source.seeds:
        if seed in seen:
            raise UsageError(
                f"seed {seed} is asked for twice, and {out} names each image by its seed: ask for"
                " it once"
            )
        seen.add(seed)


def _writer(kind: Kind) -> Write:
    """The function that writes; its imports wait until it is needed."""
    match kind:
        case "grid":
            from wgan.runtime.writers.grids import write_grid as write
        case "folder":
            from wgan.runtime.writers.folders import write_folder as write
        case "array":
            from wgan.runtime.writers.arrays import write_array as write
        case "tar":
            from wgan.runtime.writers.tars import write_tar as write
        case "zip":
            from wgan.runtime.writers.zips import write_zip as write
        case "animation":
            from wgan.runtime.writers.animations import write_animation as write
    return write
