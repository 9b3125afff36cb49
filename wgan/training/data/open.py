"""What the user calls the data, to the source that reads it."""

from pathlib import Path

from wgan.errors import DataError
from wgan.training.data import decode
from wgan.training.data.paths import datasets_folder
from wgan.training.data.sources import archive
from wgan.training.data.sources.folder import FolderSource
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.data.sources.idx import find_idx, is_idx, open_idx
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.sources.torchvision import NAMES, open_named
from wgan.training.data.streaming.shards import INDEX, Shards, find_shards, is_pattern


def open_data(data: str | Path, download: bool = False) -> ImageSource | Shards:
    """Open training data as `open_source` does, or find the shards that a pattern names.

    A pattern is what `wgan.training.data.streaming.shards.is_pattern` takes for one, as in
    `"shards/{000..099}.tar"`. Raises what `open_source` and `find_shards` do.
    """
    if isinstance(data, str) and is_pattern(data):
        return find_shards(data)
    return open_source(data, download)


def open_source(data: str | Path, download: bool = False) -> ImageSource:
    """Open training data by its name or its path.

    A name wins over a folder of that name; write `./mnist` for the folder.

    Args:
        data: `"glyphs"`, the name of a torchvision data set (`sources.torchvision.NAMES`), a
            folder of images or of idx files, a .zip or .tar of images, or an idx file.
        download: fetch a torchvision data set that is not there.

    Raises:
        DataError: there is no such data, it is damaged, or holds no images.
        MissingExtra: a package that reads it is not installed.
    """
    if data == "glyphs":
        return GlyphSource()
    if isinstance(data, str) and data in NAMES:
        return open_named(data, datasets_folder(), download)
    path = Path(data)
    if (path / INDEX).is_file():
        raise DataError(f"{path} holds shards: name them, to be streamed, as in '{path / '*.tar'}'")
    if path.is_dir():
        idx = find_idx(path)
        return open_idx(idx, path.resolve().name) if idx else FolderSource(path)
    if path.is_file():
        return _open_file(path)
    raise DataError(
        f"there is no data {data}: it is a folder, a .zip or .tar, an idx file, or one of"
        f" glyphs, {', '.join(NAMES)}"
    )


def _open_file(path: Path) -> ImageSource:
    if path.name.lower().endswith(archive.ENDINGS):
        return archive.open_archive(path)
    if decode.is_image_name(path.name):
        raise DataError(f"{path} is a single image: name the folder that holds many")
    if is_idx(path):
        return open_idx(path, path.name.partition("-")[0])
    raise DataError(
        f"{path} is neither an archive ({' '.join(archive.ENDINGS)}) nor an idx file of images"
    )
