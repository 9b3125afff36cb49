"""Idx files, the format of MNIST: a header, then all pixels, possibly gzipped.

The format is described on the MNIST page of LeCun, Cortes and Burges: 4 bytes of magic number,
whose third gives the type (8 for unsigned bytes) and fourth the number of dimensions, a big-endian
32-bit integer for each dimension, then the values in row-major order.
"""

import math
import re
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import numpy as np

from wgan.errors import DataError
from wgan.files import why_unreadable
from wgan.training.data.image_formats import is_hidden
from wgan.training.data.sources import ArraySource, open_unzipped
from wgan.training.data.sources.arrays.layout import layout_of
from wgan.training.data.sources.labelling import NO_CLASSES, Classes, classes_of_column

TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""Types of values by the third byte of the magic number; images of MNIST have unsigned bytes."""

DIMENSIONS = (3, 4)
"""Dimensions of images: grey ones, or with an axis of colours."""

LABELS = {bytes([0, 0, code, 1]): np.dtype(kind) for code, kind in ((8, "u1"), (12, ">i4"))}
"""The magic numbers of labels, 1 dimension, and the types of their values."""

BYTE_LIMIT = 2**34
"""Largest size in bytes that a header may claim: 16 GiB."""

_CHUNK = 2**20  # bytes per read
_NAME = re.compile(r"(.*)images([-.])idx[34]-\w+(\.gz)?$")


def find_idx(folder: Path) -> Path | None:
    """Find the idx file of images in `folder` or its `raw` subfolder; training images first.

    Raises:
        DataError: there are several candidates.
    """
    for parent in (folder, folder / "raw"):  # torchvision uses raw
        # Some programs unpack a file into a folder of the same name.
        found = [path for path in parent.glob("*idx[34]-*") if path.is_file()]
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
        with open_unzipped(path) as file:
            return _is_magic(file.read(4))
    except (OSError, EOFError, zlib.error):
        return False


def _is_magic(magic: bytes) -> bool:
    """Whether these 4 bytes are the magic number of images."""
    if len(magic) < 4 or magic[:2] != b"\0\0":
        return False
    return magic[2] in TYPES and magic[3] in DIMENSIONS


def open_idx(path: Path, name: str) -> ArraySource:
    """Read all images of the idx file at `path`.

    Raises:
        DataError: it is truncated, damaged or of another format.
    """
    try:
        with open_unzipped(path) as file:
            magic = bytes(_read(file, 4))
            if not _is_magic(magic):
                raise DataError(f"{path} is not an idx file of images")
            kind = np.dtype(TYPES[magic[2]])
            shape = struct.unpack(f">{magic[3]}I", _read(file, 4 * magic[3]))
            count, size = shape[0], math.prod(shape) * kind.itemsize
            if not 0 < size <= BYTE_LIMIT:
                sides = "x".join(map(str, shape[1:]))
                raise DataError(f"{path} has a wrong header: {count} images of {sides}")
            values = _read(file, size)
            if file.read(1):
                raise DataError(f"{path} is damaged: it continues after its {count} images")
    except (OSError, EOFError, zlib.error, struct.error) as exc:
        reason = why_unreadable(exc, "is truncated or damaged (download it again)")
        raise DataError(f"the idx file {path} {reason}") from exc
    pixels = np.frombuffer(values, kind).reshape(shape)
    if len(shape) > 3 and layout_of(shape, kind, str(path)).bands_first:
        pixels = pixels.transpose(0, 2, 3, 1)
    return ArraySource(name, pixels, *_find_labels(path, count))


def _find_labels(path: Path, count: int) -> Classes:
    """Read the labels beside a file of images: `train-labels-idx1-ubyte` or `.gz`."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return NO_CLASSES
    name = f"{found[1]}labels{found[2]}idx1-ubyte"
    beside = [path.with_name(name), path.with_name(f"{name}.gz")]
    for labels in [*beside, path.parent.parent / name / name]:  # each in a folder of its name
        try:
            with open_unzipped(labels) as file:
                magic, length = struct.unpack(">4sI", _read(file, 8))
                kind = LABELS.get(magic)
                if kind is not None and length == count:
                    values = np.frombuffer(_read(file, count * kind.itemsize), kind)
                    return classes_of_column(values, title=f"labels in {labels.name}")
        except (OSError, EOFError, zlib.error):  # the images are good without
            continue
    return NO_CLASSES


def _read(file: IO[bytes], size: int) -> bytearray:
    """Read exactly `size` bytes in chunks: a wrong header must not allocate its claimed size."""
    values = bytearray()
    while len(values) < size:
        chunk = file.read(min(size - len(values), _CHUNK))
        if not chunk:
            raise EOFError(f"it ends {size - len(values)} bytes early")
        values += chunk
    return values
