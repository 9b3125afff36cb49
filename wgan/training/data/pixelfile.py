"""Decoded images in a file: made once, then mapped into memory by every later run.

The file holds the pixels, then a JSON trailer that describes them and holds a checksum for each
block, then 20 bytes: the trailer's length, its checksum and the magic word.
"""

import contextlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from wgan.files import whole_file
from wgan.images import Pixels
from wgan.training.data.dataset import InMemoryDataset, Part, Skipped, pixels_sha256

logger = logging.getLogger(__name__)

ENDING = ".pixels"

BLOCK = 2**24
"""Bytes that share a checksum: 16 MiB."""

CHECKED_BLOCKS = 256
"""Checksums that are compared when a file is opened: all of a file up to 4 GiB. Of a larger one
as many, evenly spread, so that opening it stays quick."""

_MAGIC = b"wganpix1"
_FOOTER = struct.Struct(">QI8s")


def write_images(path: Path, parts: Iterable[Part]) -> InMemoryDataset:
    """Write images to the cache file `path` as they come, and map it.

    Args:
        path: the file, in a folder that exists.
        parts: some good images, and the damaged ones among them, time after time.

    Raises:
        OutputError: it could not be written.
    """
    skipped: list[Skipped] = []
    count, shape = 0, (0, 0, 0)
    with whole_file(path) as file:
        for pixels, damaged in parts:
            file.write(pixels.data)
            skipped += damaged
            count, shape = count + len(pixels), pixels.shape[1:]
        file.flush()
        trailer = {**_describe(Path(file.name), (count, *shape)), "skipped": skipped}
        text = json.dumps(trailer).encode()
        file.write(text + _FOOTER.pack(len(text), zlib.crc32(text), _MAGIC))
    return InMemoryDataset(_map(path, (count, *shape)), skipped, trailer["sha256"])


def read_images(path: Path) -> InMemoryDataset | None:
    """Map the cache file at `path`; None when there is none, or a damaged one, which is named."""
    try:
        trailer = _read_trailer(path)
        pixels = _map(path, tuple(trailer["shape"]))
        _check_blocks(pixels, trailer["blocks"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        logger.warning("the cache %s is damaged and is made anew: %s", path, exc)
        return None
    with contextlib.suppress(OSError):  # another user's cache may be read all the same
        os.utime(path)  # it was used last
    skipped = [(label, reason) for label, reason in trailer["skipped"]]
    return InMemoryDataset(pixels, skipped, trailer["sha256"])


def _describe(path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape and checksums of the pixels; the map ends here: Windows renames no mapped file."""
    pixels = _map(path, shape)
    return {
        "shape": shape,
        "sha256": pixels_sha256(pixels),
        "blocks": _checksums(pixels, range(_blocks(pixels))),
    }


def _read_trailer(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if end < _FOOTER.size:
            raise ValueError("it is cut off")
        file.seek(end - _FOOTER.size)
        length, checksum, magic = _FOOTER.unpack(file.read())
        if magic != _MAGIC or length > end - _FOOTER.size:
            raise ValueError("it is cut off")
        file.seek(end - _FOOTER.size - length)
        text = file.read(length)
    if zlib.crc32(text) != checksum:
        raise ValueError("its description fails its checksum")
    trailer: dict[str, Any] = json.loads(text)
    if np.prod(trailer["shape"]) != end - _FOOTER.size - length:
        raise ValueError("it has another length than it says")
    return trailer


def _map(path: Path, shape: tuple[int, ...]) -> Pixels:
    # A plain array on the mapped memory: batches that are taken out of it are plain arrays too.
    return np.asarray(np.memmap(path, np.uint8, "r", shape=shape))


def _blocks(pixels: Pixels) -> int:
    return -(-pixels.nbytes // BLOCK)


def _check_blocks(pixels: Pixels, checksums: list[int]) -> None:
    count = _blocks(pixels)
    chosen = range(0, count, -(-count // CHECKED_BLOCKS))
    for block, checksum in zip(chosen, _checksums(pixels, chosen), strict=True):
        if checksums[block] != checksum:
            raise ValueError(f"bytes {block * BLOCK} to {(block + 1) * BLOCK} fail their checksum")


def _checksums(pixels: Pixels, blocks: range) -> list[int]:
    data = pixels.reshape(-1)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda k: zlib.crc32(data[k * BLOCK : (k + 1) * BLOCK].data), blocks))
