"""Idx files, the format of MNIST: a header, then all pixels, possibly gzipped.

The format is described on the MNIST page of LeCun, Cortes and Burges: 4 bytes of magic number,
whose third gives the type (8 for unsigned bytes) and fourth the number of dimensions, a big-endian
32-bit integer for each dimension, then the values in row-major order.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wgan.errors import DataError
from wgan.files import is_refused, why_unreadable
from wgan.training.data.image_formats import is_hidden
from wgan.training.data.sources import ArraySource
from wgan.training.data.sources.labelling import NO_CLASSES, Classes, classes_of_column

IMAGES = bytes([0, 0, 8, 3])
"""The magic number of images: unsigned bytes, 3 dimensions."""

LABELS = {bytes([0, 0, code, 1]): np.dtype(kind) for code, kind in ((8, "u1"), (12, ">i4"))}
"""The magic numbers of labels, 1 dimension, and the types of their values."""

BYTE_LIMIT = 2**34
"""Largest size in bytes that a header may claim: 16 GiB."""

_CHUNK = 2**20  # bytes per read
_NAME = re.compile(r"(.*)images[-.]idx3-ubyte(\.gz)?$")


def find_idx(folder: Path) -> Path | None:
    """Find the idx file of images in `folder` or its `raw` subfolder; training images first.

    Raises:
        DataError: there are several candidates.
    """
    for parent in (folder, folder / "raw"):  # torchvision uses raw
        # Some programs unpack a file into a folder of the same name.
        found = [path for path in parent.glob("*idx3-ubyte*") if path.is_file()]
        chosen = _choose(parent, found)
        if chosen is not None:
            return chosen
    return None


def find_nested_idx(folder: Path, files: Iterable[str]) -> Path | None:
    """Find the idx file of images among `files`, paths below `folder`; training images first.

    Raises:
        DataError: there are several candidates.
    """
    return _choose(folder, [folder / file for file in files])


def _choose(folder: Path, files: Iterable[Path]) -> Path | None:
    # macOS puts a hidden file ._NAME beside each file on other disks.
    found = sorted(path for path in files if _NAME.match(path.name) and not is_hidden(path.name))
    chosen = [path for path in found if "train" in path.name] or found
    names = {path.relative_to(folder).as_posix().removesuffix(".gz") for path in chosen}
    if len(names) > 1:
        raise DataError(
            f"the folder {folder} contains {', '.join(sorted(names))}: give one of them"
        )
    return chosen[0] if chosen else None  # prefers the plain file to its gzipped twin


def is_idx(path: Path) -> bool:
    """Whether the file at `path` starts with the magic number of an idx file of images."""
    try:
        with _open(path) as file:
            return file.read(4) == IMAGES
    except (OSError, EOFError, zlib.error):
        return False


def open_idx(path: Path, name: str) -> ArraySource:
    """Read all images of the idx file at `path`.

    Raises:
        DataError: it is truncated, damaged or of another format.
    """
    try:
        with _open(path) as file:
            magic, count, height, width = struct.unpack(">4s3I", _read(file, 16))
            if magic != IMAGES:
                raise DataError(f"{path} is not an idx file of images")
            size = count * height * width
            if not 0 < size <= BYTE_LIMIT:
                raise DataError(f"{path} has a wrong header: {count} images of {height}x{width}")
            values = _read(file, size)
            if file.read(1):
                raise DataError(f"{path} is damaged: it continues after its {count} images")
    except (OSError, EOFError, zlib.error, struct.error) as exc:
        if is_refused(exc):
            raise DataError(f"the idx file {path} {why_unreadable(exc)}") from exc
        raise DataError(
            f"the idx file {path} is truncated or damaged: {exc}; download it again"
        ) from exc
    pixels = np.frombuffer(values, np.uint8).reshape(count, height, width)
    return ArraySource(name, pixels, *_find_labels(path, count))


def _find_labels(path: Path, count: int) -> Classes:
    """Read the labels beside a file of images: `train-labels-idx1-ubyte` or `.gz`."""
    found = re.fullmatch(r"(.*)images([-.])idx3-ubyte(\.gz)?", path.name)
    if found is None:
        return NO_CLASSES
    name = f"{found[1]}labels{found[2]}idx1-ubyte"
    beside = [path.with_name(name), path.with_name(f"{name}.gz")]
    for labels in [*beside, path.parent.parent / name / name]:  # each in a folder of its name
        try:
            with _open(labels) as file:
                magic, length = struct.unpack(">4sI", _read(file, 8))
                kind = LABELS.get(magic)
                if kind is not None and length == count:
                    values = np.frombuffer(_read(file, count * kind.itemsize), kind)
                    return classes_of_column(values, title=f"labels in {labels.name}")
        except (OSError, EOFError, zlib.error):  # the images are good without
            continue
    return NO_CLASSES


def _open(path: Path) -> BinaryIO | gzip.GzipFile:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")


def _read(file: BinaryIO | gzip.GzipFile, size: int) -> bytearray:
    """Read exactly `size` bytes in chunks: a wrong header must not allocate its claimed size."""
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(size - len(values), _CHUNK))
        if not chunk:
            raise EOFError(f"it ends {size - len(values)} bytes early")
        values += chunk
    return values
