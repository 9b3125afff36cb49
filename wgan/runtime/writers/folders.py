"""A folder with a PNG for each image, named by key and class, and the settings that resume it."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wgan.errors import OutputError
from wgan.files import discard_leftovers, make_folder, open_lock, remove, write_whole
from wgan.host import usable_cores
from wgan.images import Pixels
from wgan.parallel import ordered_map
from wgan.runtime.job import IMAGES_AHEAD, Job
from wgan.stop import check_stop
from wgan.text import shorten

RECORD = ".wgan-sample.json"
"""The file in a folder that holds the settings of its images."""

START_LOCK = ".wgan-sample.lock"
"""The file in a folder that a command with --overwrite locks while it removes old images."""

IMAGE_NAME = re.compile(r"[0-9]{8,}(-[A-Za-z0-9_-]+)?\.png")
"""Names of images in a folder: those of `LatentSource.name`."""


def write_folder(path: Path, job: Job) -> None:
    """Write each image to a file, `00000042.png`; existing files are not generated again.

    The folder is created if it is missing. Several shards may write to one folder at a time.
    With `overwrite` the images of other settings are removed.

    Raises:
        OutputError: a file cannot be written, or the folder was started with other settings, or
            it holds images without a record of their settings.
    """
    make_folder(path)
    for name in ("[0-9]*.png", RECORD):
        discard_leftovers(path, name)
    resumes = _start(path, job.settings(), overwrite=job.config.overwrite)

    def save(image: tuple[int, Pixels]) -> None:
        position, pixels = image
        data = job.encode(pixels, [position])
        # Flushing each file to the disk would take longer than generating its image.
        write_whole(path / f"{job.source.name(position)}.png", data, flush=False)

    saved = ordered_map(
        job.numbered_images(
            exists=(lambda name: _exists(path / f"{name}.png")) if resumes else None
        ),
        save,
        workers=usable_cores(),
        ahead=IMAGES_AHEAD,
    )
    with contextlib.closing(saved):  # after a stop too, the files in work are finished
        for _ in saved:
            pass


def _start(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return whether images in the folder are kept; make sure that all of them are of this job."""
    record = folder / RECORD
    images = [] if record.exists() else _images(folder)
    if images and not record.exists():  # now: another shard writes its images after it
        raise OutputError(
            f"{folder} holds {images[0].name}, which no  wgan sample  wrote: choose another folder"
        )
    if not overwrite:
        return can_resume(folder, settings, overwrite=False)
    with _start_lock(folder):  # or a shard could remove what another has just written
        if not _is_recorded(folder, settings):
            # Before the settings are recorded, which claim the images for this job. With equal
            # settings they are those of other shards.
            for image in _images(folder):
                remove(image)
        return can_resume(folder, settings, overwrite=True)


@contextlib.contextmanager
def _start_lock(folder: Path) -> Iterator[None]:
    while (lock := open_lock(folder / START_LOCK)) is None:
        check_stop()
        time.sleep(0.05)
    with lock:
        yield


def _images(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if IMAGE_NAME.fullmatch(path.name))
    except OSError as exc:
        raise OutputError(f"cannot list {folder}: {exc.strerror}") from exc


def _is_recorded(folder: Path, settings: Mapping[str, Any]) -> bool:
    try:
        check_same((folder / RECORD).read_bytes(), settings, str(folder))
    except (OSError, OutputError):
        return False
    return True


def _exists(path: Path) -> bool:
    try:
        return path.stat().st_size > 0  # a power cut can leave an empty file
    except FileNotFoundError:
        return False


def to_text(settings: Mapping[str, Any]) -> str:
    """Format settings as one line of JSON; equal settings give equal text."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def check_same(text: str | bytes, settings: Mapping[str, Any], path: str) -> None:
    """Compare the settings that `path` was started with, as text, with those of this command.

    Raises:
        OutputError: they differ, or the text is damaged.
    """
    try:
        before = json.loads(text)
    except (ValueError, RecursionError):
        before = None
    if not isinstance(before, dict):
        raise OutputError(f"{path} has a damaged record: add --overwrite to start again")
    now = json.loads(to_text(settings))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            old, new = (shorten(s[name], 20) if name in s else "absent" for s in (before, now))
            raise OutputError(
                f"{path} was started with {name} {old}, now it is {new}: choose another name, or"
                " add --overwrite"
            )


def can_resume(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return whether the folder was started with these settings; otherwise record them.

    With `overwrite` the settings are always recorded.

    Raises:
        OutputError: the folder was started with other settings.
    """
    record = folder / RECORD
    try:
        if not overwrite and record.exists():
            check_same(record.read_bytes(), settings, str(folder))
            return True
    except OSError as exc:
        raise OutputError(f"cannot read {record}: {exc.strerror}") from exc
    write_whole(record, (to_text(settings) + "\n").encode())
    return False
