"""Cache of decoded images: a .npy file and a JSON description for each source and transform.

The array is written first, the description last, and each appears completely or not at all. An
entry without a description does not exist. The name of an entry depends on its contents, so two
processes that write the same entry at once write the same bytes.
"""

import datetime as dt
import hashlib
import io
import json
import logging
import math
import os
import shutil
import time
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from wgan.errors import DataError, OutputError
from wgan.files import (
    TEMPORARY_SUFFIX,
    make_folder,
    whole_file,
    why_unreadable,
    write_whole,
)
from wgan.host import usable_cores
from wgan.image_shape import channels_text
from wgan.images import Pixels
from wgan.training.data.dataset import InMemoryDataset, pixels_sha256
from wgan.training.data.decoding import Part, Skipped
from wgan.training.data.sources import ImageSource
from wgan.training.data.transform import Transform
from wgan.training.execution import CacheConfig

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "WGAN_CACHE"
"""Environment variable that replaces `~/.cache/wgan`."""

ABANDONED_SECONDS = 3600.0
"""A partial file that was not written to for this long belongs to a killed process."""

CHECKSUM_BLOCK = 2**24
"""Bytes per checksum: 16 MiB."""

MAX_BLOCKS = 256
"""Checksums of an entry: of all its bytes up to 4 GiB, of an evenly spaced sample beyond."""

_ENTRIES = ("*.npy", "*.pixels")  # .pixels: entries of wgan 0.1.0, which are only removed


def cache_folder() -> Path:
    """Folder of everything that can be downloaded or computed again: `~/.cache/wgan`.

    `$WGAN_CACHE` replaces it; `$XDG_CACHE_HOME` replaces `~/.cache`.

    Raises:
        OutputError: no variable names it, and the user has no home folder.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "wgan"
    try:
        return Path.home() / ".cache" / "wgan"
    except RuntimeError as exc:  # no HOME and no passwd entry, as in many containers
        raise OutputError(
            f"there is no home folder for the cache: set {CACHE_VARIABLE} to a folder"
        ) from exc


DECODING = 4
"""Raised when files are read differently, so that older entries no longer count."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder of decoded images with a size limit."""

    folder: Path
    size: int = round(CacheConfig.cache_size * 1e9)  # bytes; the least recently used go first
    limit: int = round(CacheConfig.cache_limit * 1e9)  # bytes of one entry

    @classmethod
    def of(cls, config: CacheConfig) -> Self | None:
        """Return the cache that `config` describes; None if it turns caching off.

        Also None, with a warning, if the user has no home folder for the default.
        """
        if config.no_cache:
            return None
        try:
            folder = config.cache or cache_folder() / "images"
        except OutputError as exc:
            logger.warning("%s; the images are held in memory instead", exc)
            return None
        return cls(
            folder=folder,
            size=round(config.cache_size * 1e9),
            limit=round(config.cache_limit * 1e9),
        )

    def path(self, source: ImageSource, transform: Transform) -> Path:
        """Path of the entry for `source` and `transform`, whether it exists or not."""
        contents = {
            "source": source.fingerprint(),
            "transform": transform.identity(),
            "decoding": DECODING,
        }
        key = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{source.name[:40]}-{transform.size}-{key[:24]}.npy"

    def read(self, path: Path) -> InMemoryDataset | None:
        """Memory-map the entry at `path`; None if there is none, or it is damaged (a warning)."""
        try:
            description = json.loads(path.with_suffix(".json").read_bytes())
            if description.pop("checksum") != _checksum(description):
                raise ValueError("its description has a wrong checksum")
            pixels = _map(path, tuple(description["shape"]))
            if _block_checksums(pixels) != description["blocks"]:
                raise ValueError("its checksums are wrong")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as exc:
            reason = why_unreadable(exc, "is damaged and is written again")
            logger.warning("the cache %s %s", path, reason)
            return None
        with suppress(OSError):  # another user's cache can be read-only
            os.utime(path)  # marks it as recently used
        skipped = [Skipped(*item) for item in description["skipped"]]
        return InMemoryDataset(pixels, skipped, description["sha256"])

    def write(
        self, path: Path, parts: Iterable[Part], shape: tuple[int, int, int, int]
    ) -> InMemoryDataset:
        """Write the entry `path` part by part, and memory-map it. Raises OutputError.

        `shape[0]` is an upper limit of the number of images.
        """
        skipped: list[Skipped] = []
        with whole_file(path) as file:
            start, count = file.write(_header(shape)), 0
            for pixels, damaged in parts:
                file.write(pixels.data)
                count += len(pixels)
                skipped += damaged
            shape = (count, *shape[1:])
            header = _header(shape)
            assert len(header) == start, "NumPy pads headers so that the first axis may change"
            file.seek(0)
            file.write(header)
            file.flush()
            # Windows renames no mapped file: nothing may refer to this map after the statement.
            description = _describe(_map(Path(file.name), shape), skipped)
        text = json.dumps({**description, "checksum": _checksum(description)})
        write_whole(path.with_suffix(".json"), text.encode())
        return InMemoryDataset(_map(path, shape), skipped, description["sha256"])

    def make_room(self, needed: int) -> None:
        """Remove the least recently used entries until `needed` bytes are free.

        Raises:
            DataError: `needed` is over the limits.
            OutputError: the folder cannot be created.
        """
        limit = min(self.limit, self.size)
        if needed > limit:
            raise DataError(
                f"the decoded images take {needed / 1e9:.1f} GB, but the cache allows"
                f" {limit / 1e9:.1f} GB per data set: raise --cache-limit and --cache-size, lower"
                " --size, or stream them from shards (wgan prepare --help)"
            )
        make_folder(self.folder)
        for path in self.folder.glob(f".*{TEMPORARY_SUFFIX}"):
            if time.time() - _status(path).st_mtime > ABANDONED_SECONDS:
                _remove(path)
        entries = [path for pattern in _ENTRIES for path in self.folder.glob(pattern)]
        free = self.size - sum(map(_entry_size, entries))
        for path in sorted(entries, key=lambda path: (_status(path).st_mtime, path)):
            if free >= needed:
                return
            free += _entry_size(path)
            _remove(path.with_suffix(".json"))
            _remove(path)  # a process that has it mapped keeps its pages


@dataclass(frozen=True)
class CacheEntry:
    """A file in the cache, with its description, as `wgan cache list` shows it."""

    path: Path
    size: int  # bytes
    used: dt.datetime
    shape: tuple[int, ...] = ()  # of decoded images

    def __str__(self) -> str:
        if len(self.shape) != 4:
            return f"{self.path.parent.name}: {self.path.name}"
        count, height, width, channels = self.shape
        source = self.path.stem.rpartition("-")[0].rpartition("-")[0]
        return f"images: {source}, {count:,} of {width}x{height}, {channels_text(channels)}"


def list_cache(folder: Path) -> list[CacheEntry]:
    """Return what is in the cache `folder`, the most recently used first."""
    entries = []
    for path in folder.rglob("*"):
        image = path.with_suffix(".npy")
        if not path.is_file() or (path.suffix == ".json" and image.is_file()):
            continue
        status, size, shape = _status(path), _entry_size(path), ()
        if path.suffix == ".npy":
            with suppress(OSError, ValueError, KeyError, TypeError):
                shape = tuple(json.loads(path.with_suffix(".json").read_bytes())["shape"])
        used = dt.datetime.fromtimestamp(status.st_mtime).astimezone()
        entries.append(CacheEntry(path, size, used, shape))
    return sorted(entries, key=lambda entry: (entry.used, entry.path), reverse=True)


def clear_cache(folder: Path) -> int:
    """Remove the contents of the cache `folder`; return the bytes that this freed.

    A process that has an entry mapped keeps its pages.

    Raises:
        OutputError: a file cannot be removed.
    """
    size = sum(entry.size for entry in list_cache(folder))
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except FileNotFoundError:
        return size  # no cache, or another process is removing it too
    except OSError as exc:
        raise OutputError(f"cannot remove {exc.filename}: {exc.strerror}") from exc
    return size


def _header(shape: tuple[int, ...]) -> bytes:
    """Header of a .npy file of uint8."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _map(path: Path, shape: tuple[int, ...]) -> Pixels:
    # Not np.load, whose parser raises all kinds of errors for a damaged header.
    header = _header(shape)
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            raise ValueError("its header is wrong")
        if file.seek(0, os.SEEK_END) != len(header) + math.prod(shape):
            raise ValueError("its size is wrong")
    # A plain array on top of the memory map: batches cut from it are plain arrays too.
    return np.asarray(np.memmap(path, np.uint8, "r", len(header), shape))


def _describe(pixels: Pixels, skipped: list[Skipped]) -> dict[str, Any]:
    return {
        "shape": list(pixels.shape),
        "sha256": pixels_sha256(pixels),
        "skipped": skipped,
        "blocks": _block_checksums(pixels),
    }


def _checksum(description: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(description, sort_keys=True).encode())


def _block_checksums(pixels: Pixels) -> list[int]:
    """Checksums of evenly spaced blocks, at most MAX_BLOCKS; zlib releases the GIL."""
    data = pixels.reshape(-1)
    step = CHECKSUM_BLOCK * -(-data.size // (CHECKSUM_BLOCK * MAX_BLOCKS))
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(
            pool.map(
                lambda first: zlib.crc32(data[first : first + CHECKSUM_BLOCK].data),
                range(0, data.size, step),
            )
        )


def _entry_size(path: Path) -> int:
    return _status(path).st_size + _status(path.with_suffix(".json")).st_size


def _status(path: Path) -> os.stat_result:
    # all 0 if another process has just removed it
    try:
        return path.stat()
    except FileNotFoundError:
        return os.stat_result([0] * 10)


def _remove(path: Path) -> None:
    with suppress(OSError):  # another process removed it first, or has it open on Windows
        path.unlink()
