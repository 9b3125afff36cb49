"""A folder with a PNG for each image, named by its key."""

import contextlib
from pathlib import Path

from wgan.files import write_whole
from wgan.images import Pixels
from wgan.parallel import in_parallel
from wgan.runtime.job import IMAGES_AHEAD, Job
from wgan.runtime.threads import usable_cores
from wgan.runtime.writers.record import begun_before, make_folder_here


def write_folder(path: Path, job: Job) -> None:
    """Write each image to a file, `00000042.png`; those that are there are not drawn again.

    The folder is made where it is missing. Shards may write to one folder at the same time.

    Raises:
        OutputError: a file cannot be written, or the folder was begun with other settings.
    """
    make_folder_here(path)
    goes_on = begun_before(path, job.settings(), anew=job.options.overwrite)

    def save(image: tuple[int, Pixels]) -> None:
        key, pixels = image
        # Flushing each to the disk would take longer than drawing it.
        write_whole(path / name(key), job.encode(pixels, [key]), flush=False)

    saved = in_parallel(
        job.keyed_images(is_there=(lambda key: _is_there(path / name(key))) if goes_on else None),
        save,
        workers=usable_cores(),
        ahead=IMAGES_AHEAD,
    )
    with contextlib.closing(saved):  # after a stop too, what was begun is finished
        for _ in saved:
            pass


def name(key: int) -> str:
    """The file's name: eight digits, so that an alphabetical order is that of the keys."""
    return f"{key:08d}.png"


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a power cut may have left a file empty
    except FileNotFoundError:
        return False
