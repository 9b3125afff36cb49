"""Write a data set as shards that `webdataset` reads, with an index (see `shards.py`).

A shard contains one file per image, named by its number and extension, and one with its label if
the images have classes.
"""

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wgan.errors import ImageError, OutputError, UsageError, needs_extra
from wgan.files import TEMPORARY_SUFFIX, make_folder, whole_file
from wgan.images import encode
from wgan.progress import ProgressFn
from wgan.stop import check_stop
from wgan.text import shell_quote
from wgan.training.data.decoding import (
    Skipped,
    check_skipped,
    decode,
    good_labels,
    in_threads,
    quiet_pillow,
)
from wgan.training.data.load import open_source
from wgan.training.data.shards import is_pattern, write_index
from wgan.training.data.sources import ImageSource, count_classes
from wgan.training.data.sources.labelled import with_class
from wgan.training.data.sources.labelling import LABEL
from wgan.training.data.survey import Survey, resolve_data_range, survey
from wgan.training.data.transform import Transform
from wgan.training.execution import PrepareConfig

ORDER_SEED = 0
"""Seed of the order of images in the shards; a run shuffles them again."""

_File = tuple[bytes, str]
"""Bytes of an image file, and its extension, as in `"png"`."""

_Sample = dict[str, bytes]
"""Files of a sample by their extension: the image, and its label."""


@dataclass(frozen=True)
class WrittenShards:
    """Result of `write_shards`."""

    folder: Path
    shards: list[str]  # file names
    count: int  # images in all shards
    skipped: list[Skipped]

    @property
    def pattern(self) -> str:
        """Argument of `wgan train`: `"shards/{000..011}.tar"`."""
        first, last = (Path(name).stem for name in (self.shards[0], self.shards[-1]))
        return str(self.folder / (f"{{{first}..{last}}}.tar" if first != last else f"{first}.tar"))


def prepare(
    config: PrepareConfig,
    progress: ProgressFn | None = None,
    report: Callable[[Survey], None] | None = None,
) -> WrittenShards:
    """Do the work of `wgan prepare`: open a data set and write it with `write_shards`.

    `report` gets what the data holds before it is written.

    Raises:
        UsageError: the data are shards already, or the background is no colour.
        DataError: the data does not exist, or too many images are damaged.
        OutputError: the folder is not empty, or cannot be written.
        MissingExtra: a package is not installed.
    """
    if is_pattern(config.data):
        raise UsageError(
            f"{config.data} are shards already: train on them with"
            f"  wgan train {shell_quote(config.data)}"
        )
    source = open_source(config.data, config.download, config.frames)
    if config.only_labelled:
        source = with_class(source)
    transform = None
    if config.size is not None:
        channels = config.channels or source.channels
        resolved = replace(config, data_range=resolve_data_range(config.data_range, source))
        transform = Transform.from_config(resolved, config.size, channels)
        _check_png_holds(source, transform)
    if report is not None and source.can_be_surveyed:
        report(survey(source, transform))
    return write_shards(
        source,
        config.shards,
        shard_size=config.shard_size,
        transform=transform,
        allow_damaged=config.allow_damaged,
        progress=progress,
    )


def write_shards(
    source: ImageSource,
    folder: Path,
    *,
    shard_size: int = PrepareConfig.shard_size,
    transform: Transform | None = None,
    allow_damaged: bool = False,
    progress: ProgressFn | None = None,
) -> WrittenShards:
    """Write the good images of `source` as shards `000.tar`, `001.tar` and so on.

    The order is random, because the shuffle buffer of a stream is small: data that is sorted by
    class would yield batches of one class. A compressed .tar is read forward and keeps its order,
    and a table is read some blocks of rows at a time, the blocks in a random order.

    Args:
        source: the images.
        folder: folder of the shards, new or empty; it appears completely or not at all.
        shard_size: images per shard.
        transform: resizes each image and stores PNG; None keeps each file as it is.
        allow_damaged: continue if more than 1 % of the images are damaged.
        progress: called with (done, total) images.

    Raises:
        DataError: no image is good, or more than 1 % are damaged without `allow_damaged`.
        OutputError: the folder is not empty, or could not be written.
    """
    with needs_extra("train", purpose="writing shards"):
        from webdataset import TarWriter
    try:
        is_used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as exc:
        raise OutputError(f"cannot write {folder}: {exc.strerror}") from exc
    if is_used:
        raise OutputError(f"{folder} exists and is not an empty folder: choose another")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
    make_folder(partial)
    skipped: list[Skipped] = []
    shards: list[str] = []
    digits = max(3, len(str((len(source) - 1) // shard_size)))
    try:
        with quiet_pillow():
            numbered = enumerate(_good_samples(source, transform, skipped, progress))
            for first in numbered:
                shards.append(f"{len(shards):0{digits}}.tar")
                rest = itertools.islice(numbered, shard_size - 1)
                # A fixed time makes the shards of equal data equal, byte for byte.
                with (
                    whole_file(partial / shards[-1]) as file,
                    TarWriter(file, encoder=False, mtime=0) as shard,
                ):
                    for number, sample in itertools.chain([first], rest):
                        shard.write({"__key__": f"{number:010}", **sample})
        check_skipped(skipped, len(source), allow_damaged)
        count = len(source) - len(skipped)
        counts = count_classes(good_labels(source, skipped), source.class_names)
        classes = dict(zip(source.class_names, counts, strict=True)) if counts else None
        write_index([partial / name for name in shards], count, classes)
        try:
            partial.replace(folder)
        except OSError as exc:
            raise OutputError(f"cannot write {folder}: {exc.strerror}") from exc
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return WrittenShards(folder, shards, count, skipped)


def _check_png_holds(source: ImageSource, transform: Transform) -> None:
    """Raise UsageError for bands that a PNG would not hold, or whose last would become alpha."""
    try:
        is_array = isinstance(source.image(0, transform.drawn_size), np.ndarray)
    except ImageError:  # reported with the other damaged images
        return
    if (is_array and transform.channels not in (1, 3)) or transform.channels > 4:
        raise UsageError(
            f"shards of a --size hold PNG files, which cannot keep {transform.channels} bands:"
            " leave out --size, or train on the data itself"
        )


def _good_samples(
    source: ImageSource,
    transform: Transform | None,
    skipped: list[Skipped],
    progress: ProgressFn | None,
) -> Iterator[_Sample]:
    """Yield the samples for the shards; damaged images are appended to `skipped`."""

    def read(index: int) -> _File | ImageError:
        try:
            if transform is not None:
                return encode(transform(source.image(index, transform.drawn_size))), "png"
            data, ending = source.encoded(index)
            decode(io.BytesIO(data))  # finds damaged files; the file itself is stored
        except ImageError as exc:
            return exc
        return data, ending

    order = source.shuffled(np.random.RandomState(ORDER_SEED))
    for done, (index, file) in enumerate(zip(order, in_threads(read, order), strict=True), 1):
        check_stop()
        if isinstance(file, ImageError):
            skipped.append(Skipped(source.image_name(index), str(file)))
        else:
            data, ending = file
            yield {ending: data, **_label_file(source, index)}
        if progress:
            progress(done, len(order))


def _label_file(source: ImageSource, index: int) -> _Sample:
    if source.labels is None or source.labels[index] < 0:
        return {}
    return {LABEL: b"%d" % source.labels[index]}
