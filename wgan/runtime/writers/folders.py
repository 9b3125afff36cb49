"""A folder with a PNG for each image, named by its key."""

import contextlib
from pathlib import Path

from wgan.files import write_whole
from wgan.host import usable_cores
from wgan.images import Pixels
from wgan.parallel import ordered_map
from wgan.runtime.job import IMAGES_AHEAD, Job
from wgan.runtime.writers.resume import can_resume, make_output_folder


def write_folder(path: Path, job: Job) -> None:
    """Write each image to a file, `00000042.png`; existing files are not generated again.

    The folder is created if it is missing. Several shards may write to one folder at a time.

    Raises:
        OutputError: a file cannot be written, or the folder was started with other settings.
    """
    make_output_folder(path)
    resumes = can_resume(path, job.settings(), overwrite=job.config.overwrite)

    def save(image: tuple[int, Pixels]) -> None:
        key, pixels = image
        # Flushing each file to the disk would take longer than generating its image.
        write_whole(path / image_name(key), job.encode(pixels, [key]), flush=False)

    saved = ordered_map(
        job.keyed_images(exists=(lambda key: _exists(path / image_name(key))) if resumes else None),
        save,
        workers=usable_cores(),
        ahead=IMAGES_AHEAD,
    )
    with contextlib.closing(saved):  # after a stop too, the files in work are finished
        for _ in saved:
            pass


def image_name(key: int) -> str:
    """Name of an image's file: eight digits, so that alphabetical order is that of the keys."""
    return f"{key:08d}.png"


def _exists(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a power cut can leave an empty file
    except FileNotFoundError:
        return False
