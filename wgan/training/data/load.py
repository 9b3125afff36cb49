"""Open training data by its name or path, and load it as a dataset."""

import logging
import math
import os
from pathlib import Path

from wgan.errors import DataError, ImageError, OutputError
from wgan.progress import ProgressFn
from wgan.text import shorten
from wgan.training.data.dataset import Dataset, InMemoryDataset
from wgan.training.data.decoding import check_skipped, decode_all, is_image_name, quiet_pillow
from wgan.training.data.pixel_cache import Cache
from wgan.training.data.shards import INDEX, Shards, find_shards, is_pattern
from wgan.training.data.sources import ImageSource, image_size
from wgan.training.data.sources.glyphs import STYLES, GlyphSource
from wgan.training.data.sources.idx import find_idx, is_idx, open_idx
from wgan.training.data.sources.image_files import ARCHIVE_ENDINGS, FolderSource, open_archive
from wgan.training.data.sources.torchvision import NAMES, open_torchvision
from wgan.training.data.stream import BUFFER, StreamingDataset
from wgan.training.data.transform import Transform

logger = logging.getLogger(__name__)


def open_data(data: str | Path, download: bool = False) -> ImageSource | Shards:
    """Open shards by a pattern as in `"shards/{000..099}.tar"`, other data by `open_source`.

    Errors are those of `open_source`.
    """
    if isinstance(data, str) and is_pattern(data):
        return find_shards(data)
    return open_source(data, download)


def open_source(data: str | Path, download: bool = False) -> ImageSource:
    """Open training data by its name or path. A new kind of data is added here.

    A name takes precedence over a folder of that name; write `./mnist` for the folder.

    Args:
        data: `"letters"` or `"glyphs"`, the name of a torchvision data set
            (`sources.torchvision.NAMES`), a folder of images or of idx files, a .zip or .tar of
            images, or an idx file.
        download: download a torchvision data set if it is missing.

    Raises:
        DataError: the data does not exist, is damaged, or holds no images.
        MissingExtra: a package that reads it is not installed.
    """
    if data in STYLES:
        return GlyphSource(name=str(data))
    if isinstance(data, str) and data in NAMES:
        return open_torchvision(data, download)
    try:
        return _open_path(Path(data))
    except OSError as exc:  # no permission, a name that is too long, a loop of links
        raise DataError(f"cannot read {shorten(str(data), 200)}: {exc.strerror}") from exc


def _open_path(path: Path) -> ImageSource:
    if (path / INDEX).is_file():
        raise DataError(f"{path} is a folder of shards: stream them with '{path / '*.tar'}'")
    if path.is_dir():
        idx = find_idx(path)
        return open_idx(idx, path.resolve().name) if idx else FolderSource(path)
    if not path.is_file():
        raise DataError(
            f"no data {path}: it must be a folder, a .zip or .tar, an idx file, or one of"
            f" {', '.join(STYLES)}, {', '.join(NAMES)}"
        )
    if path.name.lower().endswith(ARCHIVE_ENDINGS):
        return open_archive(path)
    if is_image_name(path.name):
        raise DataError(f"{path} is a single image: give the folder that contains many")
    if is_idx(path):
        return open_idx(path, path.name.partition("-")[0])
    raise DataError(
        f"{path} is neither an archive ({' '.join(ARCHIVE_ENDINGS)}) nor an idx file of images"
    )


def absolute_path(data: str) -> str:
    """Return the path of data so that it holds in any working folder; a name as it is."""
    if data in STYLES or data in NAMES:
        return data
    return os.path.abspath(data)  # noqa: PTH100 - pathlib would keep a ".."


def load_data(
    source: ImageSource | Shards,
    transform: Transform,
    *,
    allow_damaged: bool = False,
    progress: ProgressFn | None = None,
    cache: Cache | None = None,
    buffer: int = BUFFER,
) -> Dataset:
    """Load a source with `load_images`, or shards as a stream.

    Args:
        source: the result of `open_data`.
        transform: how each image becomes pixels.
        allow_damaged: continue if more than 1 % of the images are damaged.
        progress: called with (done, total) images; not for shards.
        cache: keeps the decoded images; not for shards.
        buffer: number of encoded images in the shuffle buffer of a stream.

    Raises:
        DataError: too many images are damaged, or the cache would be too large.
    """
    if isinstance(source, Shards):
        return StreamingDataset(source, transform, allow_damaged, buffer)
    return load_images(
        source, transform, allow_damaged=allow_damaged, progress=progress, cache=cache
    )


def load_images(
    source: ImageSource,
    transform: Transform,
    *,
    allow_damaged: bool = False,
    progress: ProgressFn | None = None,
    cache: Cache | None = None,
) -> InMemoryDataset:
    """Decode all images of `source`, or read them from the cache.

    A cache that cannot be written is reported in a warning, and the images stay in memory.

    Raises:
        DataError: no image is good, more than 1 % are damaged and `allow_damaged` is False, or
            the cache would be too large.
    """
    if transform.crop:
        _warn_of_small_images(source, transform)
    shape = (len(source), *transform.shape)
    with quiet_pillow():
        if cache is not None:
            path = cache.path(source, transform)
            found = cache.read(path)
            if found is not None:
                # The entry may be of a run that allowed more damage.
                check_skipped(found.skipped, len(source), allow_damaged)
                return found
            try:
                cache.make_room(math.prod(shape))
                parts = decode_all(source, transform, allow_damaged, progress)
                return cache.write(path, parts, shape)
            except OutputError as exc:
                logger.warning("%s; the images are held in memory instead", exc)
        parts = decode_all(source, transform, allow_damaged, progress)
        try:
            return InMemoryDataset.from_parts(parts, shape)
        except MemoryError as exc:
            raise DataError(
                f"the decoded images take {math.prod(shape) / 1e9:.1f} GB and do not fit into"
                " memory: use the cache, which keeps them on the disk, lower --size, or stream them"
                " from shards (wgan prepare --help)"
            ) from exc


def _warn_of_small_images(source: ImageSource, transform: Transform) -> None:
    """Warn if the first image is smaller than the crop."""
    try:
        width, height = image_size(source.image(0, transform.size))
    except ImageError:  # reported with the other damaged images
        return
    if min(width, height) < transform.crop:
        logger.warning(
            f"--crop {transform.crop} is larger than {source.image_name(0)} of {width}x{height}"
            " pixels: smaller images are used whole"
        )


def check_size(data: Dataset, size: int, channels: int) -> None:
    """Raise DataError unless the images have `size` x `size` pixels and `channels` channels."""
    height, width, found = data.shape
    if (height, width, found) != (size, size, channels):
        raise DataError(
            f"the images are {width}x{height} with {found} channels, but the run is set to"
            f" {size}x{size} with {channels}: set its size and channels, or convert the images"
        )
