"""The cache: a folder of decoded images, named after what they were made from.

A file in it appears whole or not at all, so two runs may make the same one at the same time: the
second simply replaces the first.
"""

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from wgan.errors import DataError
from wgan.files import TEMPORARY_SUFFIX, make_folder
from wgan.training.data.paths import cache_folder
from wgan.training.data.pixelfile import ENDING
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.transform import Transform

ABANDONED_SECONDS = 3600.0
"""A half-made file that nobody wrote to for so long was left behind by a crash."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A folder of decoded images, and how large it may grow."""

    folder: Path
    size: int = 50 * 10**9  # bytes that all its files may take; the least recently used go first
    limit: int = 20 * 10**9  # bytes that one set of images may take

    @classmethod
    def of(cls, folder: Path | None, size: float | None, limit: float | None) -> Self:
        """A cache in `folder`, or the usual one; `size` and `limit` in gigabytes, or as usual."""
        return cls(
            folder=folder or cache_folder() / "images",
            size=cls.size if size is None else round(size * 1e9),
            limit=cls.limit if limit is None else round(limit * 1e9),
        )

    def place(self, source: ImageSource, transform: Transform) -> Path:
        """Where the images of `source` stand, there or not yet: named after their contents."""
        contents = {"source": source.fingerprint(), "transform": asdict(transform)}
        key = hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
        return self.folder / f"{source.name[:40]}-{transform.size}-{key[:24]}{ENDING}"

    def make_room(self, needed: int) -> None:
        """Remove what was not used for the longest time, until `needed` bytes are free.

        Raises:
            DataError: so much is never allowed.
        """
        if needed > min(self.limit, self.size):
            raise DataError(
                f"the decoded images take {needed / 1e9:.1f} GB, more than the"
                f" {min(self.limit, self.size) / 1e9:.1f} GB that the cache may keep of one set:"
                " raise --cache-limit and --cache-size, lower --size, or stream them from shards"
                " (wgan prepare --help)"
            )
        make_folder(self.folder)
        self._remove_abandoned()
        files = sorted((_status(path).st_mtime, path) for path in self.folder.glob(f"*{ENDING}"))
        free = self.size - sum(_status(path).st_size for _, path in files)
        for _, path in files:
            if free >= needed:
                return
            free += _status(path).st_size
            _remove(path)  # a run that has it mapped keeps its pages

    def _remove_abandoned(self) -> None:
        for path in self.folder.glob(f".*{ENDING}.*{TEMPORARY_SUFFIX}"):
            if time.time() - _status(path).st_mtime > ABANDONED_SECONDS:
                _remove(path)


def _status(path: Path) -> os.stat_result:
    """The file's size and times; all 0 when another run has just removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return os.stat_result([0] * 10)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # another run was quicker, or has it open on Windows
        path.unlink()
