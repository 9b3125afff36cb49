"""NumPy arrays of all images, `.npy` or `.npz` with the seeds."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wgan.files import undated_member, whole_file
from wgan.runtime.job import Job


def write_array(path: Path, job: Job) -> None:
    """Write pixels `[n, h, w, c]`, or float32 images `[n, c, h, w]` if the job is for these.

    A `.npz` holds them as `pixels` or `images`, the keys as `seeds`, and the labels if there are
    classes, uncompressed. The array is written batch by batch and never in memory as a whole.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(path) as file:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(file, "w") as archive:
                with _member(archive, "images" if job.config.images else "pixels") as member:
                    _write_batches(member, job)
                with _member(archive, "seeds") as member:
                    keys = np.fromiter(map(job.source.key, job.positions), np.int64)
                    np.save(member, keys)
                labels = job.source.labels(job.positions)
                if labels is not None:
                    with _member(archive, "labels") as member:
                        np.save(member, labels)
        else:
            _write_batches(file, job)


@contextmanager
def _member(archive: zipfile.ZipFile, name: str) -> Iterator[BinaryIO]:
    with archive.open(undated_member(f"{name}.npy"), "w", force_zip64=True) as member:
        yield member  # type: ignore[misc]  # IO[bytes], which is all that is used


def _write_batches(file: BinaryIO, job: Job) -> None:
    n, (height, width, channels) = len(job.positions), job.image_shape
    shape: tuple[int, ...] = (n, height, width, channels)
    dtype: np.dtype[Any] = np.dtype("u1")
    if job.config.images:
        shape, dtype = (n, channels, height, width), np.dtype("<f4")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    for batch in job.batches():
        file.write(np.ascontiguousarray(batch.images, dtype).data)
