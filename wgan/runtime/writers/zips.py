"""A zip of PNGs, named by their keys."""

import zipfile
from pathlib import Path

from wgan.files import undated_member, whole_file
from wgan.runtime.job import Job
from wgan.runtime.writers.folders import name


def write_zip(path: Path, job: Job) -> None:
    """Write each image as a member, `00000042.png`, stored, without a date.

    All of it or nothing: a zip's list of members stands at its end, so that a zip that was begun
    cannot be gone on with, and the list is kept in memory, about half a kilobyte an image. For
    millions of images write a tar.

    Raises:
        OutputError: it cannot be written.
    """
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for key, data in job.encoded():
            archive.writestr(undated_member(name(key)), data)
