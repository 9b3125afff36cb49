"""A folder with a PNG for each picture, named by its key."""

from pathlib import Path

from wgan.errors import OutputError
from wgan.files import write_whole
from wgan.images import Pixels
from wgan.parallel import in_parallel
from wgan.runtime.job import PICTURES_AHEAD, Job
from wgan.runtime.output.record import check_same, to_text
from wgan.runtime.threads import usable_cores

RECORD = ".wgan-sample.json"
"""Says what the pictures of the folder were drawn with."""


def write_folder(path: Path, job: Job) -> None:
    """Write each picture to a file, `00000042.png`; those that are there are not drawn again.

    The folder is made where it is missing. Shards may write to one folder at the same time.

    Raises:
        OutputError: a file cannot be written, or the folder was begun with other settings.
    """
    _make(path)
    goes_on = _check_record(path, job)

    def save(picture: tuple[int, Pixels]) -> None:
        key, pixels = picture
        # Flushing each to the disk would take longer than drawing it.
        write_whole(path / name(key), job.encode(pixels, [key]), flush=False)

    saved = in_parallel(
        job.pictures(is_there=(lambda key: _is_there(path / name(key))) if goes_on else None),
        save,
        workers=usable_cores(),
        ahead=PICTURES_AHEAD,
    )
    for _ in saved:
        pass


def name(key: int) -> str:
    """The file's name: eight digits, so that an alphabetical order is that of the keys."""
    return f"{key:08d}.png"


def _make(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {exc.strerror}") from exc


def _check_record(path: Path, job: Job) -> bool:
    """Whether the folder was begun before with these settings; else it is begun now."""
    record = path / RECORD
    if not job.options.overwrite:
        try:
            check_same(record.read_bytes(), job.settings(), str(path))
            return True
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise OutputError(f"cannot read {record}: {exc.strerror}") from exc
    write_whole(record, (to_text(job.settings()) + "\n").encode())
    return False


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a power cut may have left a file empty
    except FileNotFoundError:
        return False
