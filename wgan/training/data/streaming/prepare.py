"""Writing shards: a data set as many .tar files, as the `webdataset` library reads them.

A shard holds a file for each image, named by its number and its ending. Beside the shards stands
an index, as `shards.py` describes.
"""

import io
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wgan.errors import ImageError, OutputError, needs_extra
from wgan.files import TEMPORARY_SUFFIX, make_folder, whole_file
from wgan.images import encode
from wgan.training.data.dataset import Skipped
from wgan.training.data.decode import decode
from wgan.training.data.decode_all import Tell, check_skipped
from wgan.training.data.parallel import in_threads, quiet_pillow
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.streaming.shards import write_index
from wgan.training.data.transform import Transform

SHARD_SIZE = 10_000
"""Images in a shard, unless said otherwise."""

ORDER_SEED = 0
"""Of the order in which images are dealt to shards. A run's own seed shuffles them once more."""

_File = tuple[bytes, str]
"""An image's file, and its ending, as in `"png"`."""


@dataclass(frozen=True)
class WrittenShards:
    """What `write_shards` has made."""

    folder: Path
    shards: list[str]  # their names in the folder
    count: int  # images in all of them
    skipped: list[Skipped]

    @property
    def pattern(self) -> str:
        """What `wgan train` is given: `"shards/{000..011}.tar"`."""
        first, last = (Path(name).stem for name in (self.shards[0], self.shards[-1]))
        return str(self.folder / (f"{{{first}..{last}}}.tar" if first != last else f"{first}.tar"))


def write_shards(
    source: ImageSource,
    folder: Path,
    *,
    shard_size: int = SHARD_SIZE,
    transform: Transform | None = None,
    allow_damaged: bool = False,
    progress: Tell | None = None,
) -> WrittenShards:
    """Write the good images of `source` into shards `000.tar`, `001.tar` and so on.

    They are dealt out in a random order, since a stream is shuffled only a buffer at a time: data
    that is sorted by class would otherwise come in batches of one class. A compressed .tar, which
    can only be read forward, keeps its order.

    Args:
        source: where the images come from.
        folder: where the shards go, new or empty; it appears whole or not at all.
        shard_size: images in a shard.
        transform: what is done to each image; None keeps its file as it is.
        allow_damaged: go on, however many are damaged.
        progress: is told now and then how many are done.

    Raises:
        DataError: more than 1 % of the source is damaged and that is not allowed, or all is.
        OutputError: the folder holds something, or could not be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is there already and not an empty folder: name another one")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    make_folder(partial)
    try:
        with quiet_pillow():
            written = _write_all(source, partial, shard_size, transform, allow_damaged, progress)
        _rename(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return WrittenShards(folder, *written)


def _write_all(
    source: ImageSource,
    folder: Path,
    shard_size: int,
    transform: Transform | None,
    allow_damaged: bool,
    progress: Tell | None,
) -> tuple[list[str], int, list[Skipped]]:
    skipped: list[Skipped] = []
    shards: list[str] = []
    digits = max(3, len(str((len(source) - 1) // shard_size)))
    numbered = enumerate(_good_files(source, transform, skipped, progress))
    for first in numbered:
        rest = itertools.islice(numbered, shard_size - 1)
        shards.append(f"{len(shards):0{digits}}.tar")
        _write_shard(folder / shards[-1], itertools.chain([first], rest))
    check_skipped(skipped, len(source), allow_damaged)
    count = len(source) - len(skipped)
    write_index([folder / name for name in shards], count)
    return shards, count, skipped


def _write_shard(path: Path, files: Iterable[tuple[int, _File]]) -> None:
    with needs_extra("train", purpose="writing shards"):
        from webdataset import TarWriter
    with whole_file(path) as file, TarWriter(file, encoder=False, mtime=0) as shard:
        for number, (data, ending) in files:
            shard.write({"__key__": f"{number:010}", ending: data})


def _good_files(
    source: ImageSource,
    transform: Transform | None,
    skipped: list[Skipped],
    progress: Tell | None,
) -> Iterator[_File]:
    """The files that shards are made of; what is damaged is added to `skipped`."""

    def read(index: int) -> _File | ImageError:
        try:
            if transform is not None:
                return encode(transform(source.image(index, transform.size))), "png"
            data, ending = source.encoded(index)
            decode(io.BytesIO(data))
        except ImageError as exc:
            return exc
        return data, ending

    order = _order(source)
    for done, (index, file) in enumerate(zip(order, in_threads(read, order), strict=True), 1):
        if isinstance(file, ImageError):
            skipped.append((source.label(index), str(file)))
        else:
            yield file
        if progress:
            progress(done, len(order))


def _order(source: ImageSource) -> Sequence[int]:
    if source.reads_forward:
        return range(len(source))
    order: list[int] = np.random.RandomState(ORDER_SEED).permutation(len(source)).tolist()
    return order


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.replace(folder)
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror}") from exc
