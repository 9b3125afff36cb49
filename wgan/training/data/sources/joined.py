"""Several sources one after the other, as one."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wgan.training.data.sources import ImageSource, RawImage, locate
from wgan.training.data.sources.labelling import Classes
from wgan.training.data.sources.splits import SPLIT


def join_sources(
    folder: Path, sources: Mapping[str, ImageSource], unused: tuple[str, ...] = ()
) -> ImageSource:
    """Join the sources of the files in a folder, in their order.

    If they have no classes, each file is a class, named by what is its own in its name; files that
    are only numbered, and those of splits, are none. `unused` says what else the folder holds.
    """
    name = folder.resolve().name or "images"
    joined = JoinedSource(name, list(sources.values()), _file_names(list(sources)))
    joined.unused += unused
    return joined


class JoinedSource(ImageSource):
    """Images of several sources in their order."""

    def __init__(self, name: str, sources: list[ImageSource], names: tuple[str, ...] = ()) -> None:
        """`names` are those of the sources if each of them is a class."""
        super().__init__(name)
        self._sources = sources
        self._ends = list(itertools.accumulate(map(len, sources)))
        self.labels, self.class_names, self.why_no_classes = _join_classes(sources, names)
        self.left_out = sum(source.left_out for source in sources)
        self.unused = tuple(phrase for source in sources for phrase in source.unused)

    def __len__(self) -> int:
        return self._ends[-1]

    def image_name(self, index: int) -> str:
        """Name that the image has in its source."""
        source, inside = self._find(index)
        return source.image_name(inside)

    def image(self, index: int, size: int) -> RawImage:
        """Image of a source. Raises ImageError."""
        source, inside = self._find(index)
        return source.image(inside, size)

    def encoded(self, index: int) -> tuple[bytes, str]:
        """File of the image in its source. Raises ImageError."""
        source, inside = self._find(index)
        return source.encoded(inside)

    def fingerprint(self) -> str:
        """Fingerprints of the sources."""
        return "\n".join(source.fingerprint() for source in self._sources)

    def _find(self, index: int) -> tuple[ImageSource, int]:
        number, inside = locate(self._ends, index)
        return self._sources[number], inside


def _join_classes(sources: list[ImageSource], names: tuple[str, ...]) -> Classes:
    if names:
        return Classes(np.repeat(np.arange(len(sources)), list(map(len, sources))), names)
    labels = [source.labels for source in sources if source.labels is not None]
    if len(labels) < len(sources) or len({source.class_names for source in sources}) > 1:
        return Classes(reason=next(filter(None, (each.why_no_classes for each in sources)), ""))
    return Classes(np.concatenate(labels), sources[0].class_names)


def _file_names(files: list[str]) -> tuple[str, ...]:
    """Return what differs in the names of files: `full_numpy_bitmap_cat` is `cat`."""
    shared = 0
    for letters in zip(*files, strict=False):
        if len(set(letters)) > 1:
            break
        shared += 1
    names = [file[shared:] or file for file in files]
    if len(files) < 2 or all(name.strip("-_. ").isdecimal() for name in names):
        return ()
    # A prefix that ends within a word (c of cat and cow) belongs to it.
    whole = files[0][:shared]
    word = len(whole) - len(whole.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    names = [file[shared - word :] for file in files]
    return () if all(map(SPLIT.fullmatch, names)) else tuple(names)
