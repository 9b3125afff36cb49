"""Open training data by its name or path, and load it as a dataset."""

import logging
import math
import os
from pathlib import Path

from wgan.errors import DataError, ImageError, OutputError
from wgan.files import is_lfs_pointer
from wgan.progress import ProgressFn
from wgan.text import plural, shorten
from wgan.training.config import TrainConfig
from wgan.training.data.dataset import Dataset, InMemoryDataset
from wgan.training.data.decoding import (
    check_skipped,
    count_frames,
    decode_all,
    good_labels,
    quiet_pillow,
)
from wgan.training.data.image_formats import is_hidden, is_image_name
from wgan.training.data.pixel_cache import Cache
from wgan.training.data.shards import INDEX, Shards, find_shards, is_indexed_shard, is_pattern
from wgan.training.data.sources import ImageSource, image_size
from wgan.training.data.sources.arrays.hdf5 import open_hdf5
from wgan.training.data.sources.arrays.numpy_files import open_npy, open_npy_folder, open_npz
from wgan.training.data.sources.arrays.pixel_csv import open_pixel_csv
from wgan.training.data.sources.frames import FramedSource, each_frame
from wgan.training.data.sources.glyphs import STYLES, GlyphSource
from wgan.training.data.sources.idx import find_idx, find_nested_idx, is_idx, open_idx
from wgan.training.data.sources.image_archives import open_archive
from wgan.training.data.sources.image_files import FolderSource, files_below
from wgan.training.data.sources.left_out import ARCHIVE_ENDINGS, why_not_read
from wgan.training.data.sources.lmdb import DATA as LMDB_DATA
from wgan.training.data.sources.lmdb import LmdbSource
from wgan.training.data.sources.table_files import (
    is_saved_dataset,
    open_saved_dataset,
    open_table,
    open_table_folder,
)
from wgan.training.data.sources.torchvision import NAMES, open_torchvision
from wgan.training.data.stream import StreamingDataset
from wgan.training.data.transform import Transform

HDF5_ENDINGS = (".h5", ".hdf5", ".hdf")

KEYED_ENDINGS = (".npz", *HDF5_ENDINGS)
"""Extensions of files of several arrays."""

FILE_ENDINGS = (
    *(".npy", *KEYED_ENDINGS, ".parquet", ".arrow"),
    *(".csv", ".csv.gz", ".tsv", ".mdb", ".lmdb"),
)
"""Extensions of files of many images."""

MAX_PREVIEWS = 16
"""Most images beside tables that are taken for previews, and not for the data."""

logger = logging.getLogger(__name__)


def open_data(
    data: str | Path, download: bool = False, frames: str = "first"
) -> ImageSource | Shards:
    """Open shards by a pattern as in `"shards/{000..099}.tar"`, other data by `open_source`.

    A single `.tar` is a shard if the `shards.json` beside it names it. Errors are those of
    `open_source`.
    """
    if isinstance(data, str) and (is_pattern(data) or is_indexed_shard(data)):
        if frames == "all":
            logger.warning(
                "--frames all is not possible with shards, which are streamed: of each file in"
                f" {data} the first frame is used. To use all, write the shards with"
                "  wgan prepare --frames all"
            )
        return find_shards(data)
    return open_source(data, download, frames)


def open_source(data: str | Path, download: bool = False, frames: str = "first") -> ImageSource:
    """Open training data by its name or path. A new kind of data is added in `_open_path`.

    A name takes precedence over a folder of that name; write `./mnist` for the folder.

    Args:
        data: `"letters"` or `"glyphs"`, the name of a torchvision data set
            (`sources.torchvision.NAMES`), or a file or folder of a kind that docs/data.md lists.
            Of a file of several arrays `"file.npz:name"` names one.
        download: download a torchvision data set if it is missing.
        frames: of image files with several frames or pages use the `"first"`, or `"all"`.

    Raises:
        DataError: the data does not exist, is damaged, or holds no images.
        MissingExtra: a package that reads it is not installed.
    """
    if data in (*STYLES, *NAMES) and Path(data).exists():
        logger.warning(
            "%s is the data set of that name: for the file or folder write ./%s", data, data
        )
    if data in STYLES:
        return GlyphSource(name=str(data))
    if isinstance(data, str) and data in NAMES:
        return open_torchvision(data, download)
    try:
        source = _open_path(*_split_key(str(data)), frames)
        if frames == "all" and isinstance(source, FramedSource):
            return each_frame(source)
        return source
    except OSError as exc:  # no permission, a name that is too long, a loop of links
        raise DataError(f"cannot read {shorten(str(data), 200)}: {exc.strerror}") from exc


def _split_key(data: str) -> tuple[Path, str]:
    """Split `"file.npz:name"` into the file and the name of an array in it."""
    path, colon, key = data.rpartition(":")
    if colon and path.lower().endswith(KEYED_ENDINGS) and not Path(data).exists():
        return Path(path), key
    return Path(data), ""


def _open_path(path: Path, key: str, frames: str) -> ImageSource:
    if (path / INDEX).is_file():
        raise DataError(f"{path} is a folder of shards: stream them with '{path / '*.tar'}'")
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise DataError(
            f"no data {path}: it must be a folder, a file of a kind that docs/data.md lists, or one"
            f" of {', '.join(STYLES)}, {', '.join(NAMES)}"
        )
    if is_lfs_pointer(path):
        raise DataError(f"{path} is a git-lfs pointer, not the data itself: run  git lfs pull")
    name = path.name.lower()
    if name.endswith(ARCHIVE_ENDINGS):
        return open_archive(path)
    if is_image_name(path.name):
        return _open_image(path, frames)
    if is_idx(path):
        return open_idx(path, path.name.partition("-")[0])
    opened = _open_file(path, key)
    if opened is None:
        reason = why_not_read(path.name)
        if reason:
            raise DataError(f"{path} cannot be used: {reason}")
        raise DataError(
            f"{path} is none of the files that are read: an archive"
            f" ({' '.join(ARCHIVE_ENDINGS)}), an idx file of images, or one"
            f" ending in {' '.join(FILE_ENDINGS)}"
        )
    return opened


def _open_file(path: Path, key: str = "") -> ImageSource | None:
    """Open a file of many images by its extension; None if it is of no kind that is read."""
    name = path.name.lower()
    if name.endswith(".npy"):
        return open_npy(path)
    if name.endswith(".npz"):
        return open_npz(path, key)
    if name.endswith(HDF5_ENDINGS):
        return open_hdf5(path, key)
    if name.endswith((".parquet", ".arrow")):
        return open_table(path)
    if name.endswith((".csv", ".csv.gz", ".tsv")):
        return open_pixel_csv(path)
    if name.endswith((".mdb", ".lmdb")):
        return LmdbSource(path)
    return None


def _open_folder(folder: Path) -> ImageSource:
    if (folder / LMDB_DATA).is_file():
        return LmdbSource(folder)
    if is_saved_dataset(folder):
        return open_saved_dataset(folder)
    idx = find_idx(folder)
    if idx:
        return open_idx(idx, folder.resolve().name)
    below = files_below(folder)
    files = below.files
    shown = [file for file in files if not is_hidden(file)]
    tables = [file for file in shown if file.lower().endswith(".parquet")]
    images = [file for file in files if is_image_name(file)]
    if tables and len(images) <= MAX_PREVIEWS:
        source = _open_tables(folder, tables, images)
        if source is not None:
            return source
    if not images:
        idx = find_nested_idx(folder, shown)
        if idx:
            return open_idx(idx, folder.resolve().name)
        arrays = [file for file in shown if file.lower().endswith(".npy")]
        if arrays:
            return open_npy_folder(folder, arrays)
        others = [file for file in shown if file.lower().endswith(FILE_ENDINGS)]
        others = [file for file in others if not file.endswith("lock.mdb")]
        if len(shown) > 1:  # a .tsv beside other files has their labels
            others = [file for file in others if not file.lower().endswith(".tsv")]
        if others:
            return _open_only(folder, others)
    return FolderSource(folder, files, unread=below.unread)


def _open_tables(folder: Path, tables: list[str], images: list[str]) -> ImageSource | None:
    """Open the tables of a folder with few images; None if the tables are about the images."""
    try:
        source = open_table_folder(folder, tables)
    except DataError:
        if images:
            return None
        raise
    if len(source) <= len(images):
        return None
    if images:  # previews, as beside the tables of a Hugging Face data set
        source.left_out += len(images)
        beside = f"{plural(len(images), 'image')} beside the tables, as {images[0]}"
        source.unused = (*source.unused, beside)
    return source


def _open_only(folder: Path, files: list[str]) -> ImageSource:
    """Open the only file of many images in a folder."""
    paths = [folder / file for file in sorted(files)]
    if len(paths) > 1:
        listed = ", ".join(str(path) for path in paths[:5])
        raise DataError(f"the folder {folder} holds several data sets: give one of {listed}")
    path = paths[0].parent if paths[0].name == LMDB_DATA else paths[0]
    return LmdbSource(path) if path.is_dir() else _open_path(path, "", "first")


def _open_image(path: Path, frames: str) -> ImageSource:
    """Open an image file of many frames. Raises DataError unless all of them are to be read."""
    with quiet_pillow():
        count = count_frames(path)
    if count > 1 and frames == "all":
        return FolderSource(path.parent, [path.name])
    if count > 1:
        raise DataError(
            f"{path} is one file with {count} frames or pages: use each with --frames all"
        )
    raise DataError(f"{path} is a single image: give the folder that contains many")


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
    buffer: int = TrainConfig.shuffle_buffer,
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

    A cache that cannot be written is reported in a warning, and the images stay in memory. Labels
    are not cached: they come from the source.

    Raises:
        DataError: no image is good, more than 1 % are damaged and `allow_damaged` is False, or
            the cache would be too large.
    """
    data = _load_pixels(source, transform, allow_damaged, progress, cache)
    labels = good_labels(source, data.skipped)
    return data if labels is None else data.with_labels(labels, source.class_names)


def _load_pixels(
    source: ImageSource,
    transform: Transform,
    allow_damaged: bool,
    progress: ProgressFn | None,
    cache: Cache | None,
) -> InMemoryDataset:
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
        width, height = image_size(source.image(0, transform.drawn_size))
    except ImageError:  # reported with the other damaged images
        return
    if min(width, height) < transform.crop:
        logger.warning(
            f"--crop {transform.crop} is larger than {source.image_name(0)} of {width}x{height}"
            " pixels: smaller images are used whole"
        )


def check_image_shape(data: Dataset, shape: tuple[int, int, int]) -> None:
    """Raise DataError unless the images have this height, width and number of channels."""
    if data.shape != shape:
        (height, width, found), (rows, columns, channels) = data.shape, shape
        raise DataError(
            f"the images are {width}x{height} with {found} channels, but the run is set to"
            f" {columns}x{rows} with {channels}: set its size and channels, or convert the images"
        )
