"""Shards: the .tar files that a pattern matches, their index, and their samples.

The index, `shards.json`, has the number of images, the names of the classes and the size of each
shard. Shards from other programs have none. A sample is an image file and, for images with classes,
a .cls file with the label as decimal digits, webdataset's convention.
"""

import functools
import io
import itertools
import json
import re
import tarfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wgan.errors import DataError, needs_extra
from wgan.files import is_refused, why_unreadable, write_whole
from wgan.text import shorten
from wgan.training.data.decoding import decode
from wgan.training.data.image_formats import is_image_name
from wgan.training.data.sources import PROBED_IMAGES, suitable_channels
from wgan.training.data.sources.labelling import LABEL

INDEX = "shards.json"

ARRAY = "npy"
"""Extension of an image that no image file holds: many bands, or floating-point values."""

MAX_SHARDS = 1_000_000
"""Most names that a pattern may expand to."""

_RANGE = re.compile(r"\{(-?\w+)\.\.(-?\w+)(?:\.\.(-?\w+))?\}")

Sample = dict[str, Any]
"""A sample of `webdataset`: the image file by its extension, `__key__` and `__url__`."""


@dataclass(frozen=True)
class Shards:
    """Existing shards; each has the size that the index states."""

    name: str  # short name for run folders: that of the shards' folder
    paths: list[Path]
    count: int | None  # images in all shards; None without an index
    class_names: tuple[str, ...] = ()  # as in the index; empty without classes
    class_counts: tuple[int, ...] = ()  # images of each class; empty if unknown

    def __str__(self) -> str:
        return f"{self.paths[0]} to {self.paths[-1]}"

    @property
    def channels(self) -> int:
        """Channels that suit the data, as `ImageSource.channels`."""
        first = itertools.islice(read_samples(self.paths), PROBED_IMAGES)
        return suitable_channels(
            functools.partial(decode, io.BytesIO(images_of(sample)[0])) for sample in first
        )


def is_pattern(data: str) -> bool:
    """Whether `data` is a pattern such as `"shards/{000..099}.tar"` or `"shards/*.tar"`."""
    return data.endswith(".tar") and any(mark in data for mark in "{*?")


def is_indexed_shard(data: str) -> bool:
    """Whether `data` is one shard that the index beside it names: its classes are in there."""
    path = Path(data)
    try:
        if not (data.endswith(".tar") and path.is_file()):
            return False
        return path.name in dict(json.loads((path.parent / INDEX).read_bytes())["bytes"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def find_shards(pattern: str) -> Shards:
    """Find the shards that match `pattern`, sorted by name.

    Raises:
        DataError: there are none, one is missing, or one has another size than in the index.
    """
    with needs_extra("train", purpose="streaming shards"):
        from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]
    if _count_names(pattern) > MAX_SHARDS:  # before memory is filled with their names
        raise DataError(
            f"the pattern {shorten(pattern)} names more than {MAX_SHARDS:,} shards: write a"
            " narrower one, or larger shards"
        )
    try:
        paths = [path for name in braceexpand(pattern) for path in _match(Path(name))]
        for path in paths:
            if not path.is_file():
                raise DataError(f"the shard {path} of {pattern!r} does not exist")
    except UnbalancedBracesError as exc:
        raise DataError(f"the pattern {pattern!r} has unbalanced braces") from exc
    except ValueError as exc:
        raise DataError(f"the pattern {shorten(pattern)} cannot be used: {exc}") from exc
    except OSError as exc:
        raise DataError(f"the shards {shorten(pattern)} cannot be read: {exc.strerror}") from exc
    if not paths:
        raise DataError(f"no file matches {pattern!r}")
    paths = sorted(set(paths))
    name = paths[0].resolve().parent.name or "shards"
    count, classes = _check_index(paths)
    counts = () if count is None else tuple(classes.values())
    return Shards(name, paths, count, tuple(classes), counts)


def write_index(paths: list[Path], count: int, classes: Mapping[str, int] | None = None) -> None:
    """Write the index of shards with `count` images. Raises OutputError.

    `classes` has the number of images of each class, in the order of the labels.
    """
    sizes = {path.name: path.stat().st_size for path in paths}
    # "pictures" is the key of wgan 0.1.0
    index: dict[str, Any] = {"pictures": count, "bytes": sizes}
    if classes:
        index["classes"] = dict(classes)
    text = json.dumps(index, indent=2) + "\n"
    write_whole(paths[0].parent / INDEX, text.encode())


def _count_names(pattern: str) -> int:
    """Return how many names a pattern expands to, or more where braces are nested."""
    count = 1
    for first, last, step in _RANGE.findall(pattern):
        if max(map(len, (first, last))) > len(str(MAX_SHARDS)):
            return 10 * MAX_SHARDS
        try:
            count *= abs(int(last) - int(first)) // max(1, abs(int(step or 1))) + 1
        except ValueError:  # letters, of which there are few
            continue
    for part in re.findall(r"\{([^{}]*)\}", pattern):
        count *= part.count(",") + 1
    return count


def _match(path: Path) -> list[Path]:
    if not any(mark in path.name for mark in "*?"):
        return [path]
    return list(path.parent.glob(path.name))


def _check_index(paths: list[Path]) -> tuple[int | None, dict[str, int]]:
    """Check the sizes in the index; return its count, and the images of each class.

    The count is None unless the index covers exactly these shards.
    """
    folder = paths[0].parent
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        count, sizes = int(index["pictures"]), dict(index["bytes"])
        classes = {str(name): int(n) for name, n in dict(index.get("classes", {})).items()}
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as exc:
        reason = why_unreadable(exc, "is damaged (remove it to continue without)")
        raise DataError(f"the index {folder / INDEX} {reason}") from exc
    for path in paths:
        size, expected = path.stat().st_size, sizes.get(path.name)
        if path.parent == folder and expected is not None and size != expected:
            raise DataError(
                f"the shard {path} has {size} bytes instead of {expected}, as in {INDEX}:"
                " copy it again"
            )
    is_whole = [folder / name for name in sorted(sizes)] == paths
    return (count if is_whole else None), classes


def read_samples(
    paths: list[Path],
    accept: Callable[[Sample], bool] = lambda _: True,
    buffer: int = 0,
    random: np.random.RandomState | None = None,
) -> Iterator[Sample]:
    """Yield the samples of shards, one shard after the other.

    Only samples that `accept` allows; `random` shuffles them in a buffer of `buffer` samples.

    Raises:
        DataError: a shard is damaged.
    """
    with needs_extra("train", purpose="streaming shards"):
        from webdataset import shuffle
        from webdataset.tariterators import group_by_keys, tar_file_expander

    opened = _open(paths)
    files = tar_file_expander(opened, select_files=_is_used)
    samples = filter(accept, filter(images_of, group_by_keys(files)))
    if random is not None:
        samples = shuffle(buffer, initial=buffer, rng=_RandomAdapter(random))(samples)
    try:
        yield from samples
    except MemoryError as exc:
        raise DataError(
            f"a sample of the shards in {paths[0].parent}, or the shuffle buffer, does not fit into"
            " memory: check the sizes in the shards, or lower --shuffle-buffer"
        ) from exc
    except (OSError, EOFError, ValueError, tarfile.TarError) as exc:
        # webdataset appends the shard's name to the arguments of the error.
        named = [path for path in paths if str(path) in exc.args]
        shard = f"the shard {named[0]}" if named else f"one of the shards in {paths[0].parent}"
        if is_refused(exc):
            raise DataError(f"{shard} {why_unreadable(exc)}") from exc
        reason = (isinstance(exc, OSError) and exc.strerror) or str(exc.args[0]).partition(" @ ")[0]
        raise DataError(f"{shard} is damaged: {reason}; copy it again") from exc
    finally:
        opened.close()  # closes the current shard even if the error keeps this frame alive


def _open(paths: list[Path]) -> Generator[dict[str, Any], None, None]:
    # webdataset's own opener runs commands and downloads URLs if a name says so, and leaks files.
    for path in paths:
        with path.open("rb") as stream:
            yield {"url": str(path), "stream": stream}


def _is_used(name: str) -> bool:
    """Whether a file of a shard is an image, an array or a label, and not hidden."""
    stem, dot, ending = name.rpartition(".")
    return is_image_name(f"{stem}.png" if dot and ending in (ARRAY, LABEL) else name)


def images_of(sample: Sample) -> list[bytes]:
    """Image files of a sample; arrays only if there are none: beside them they are no images."""
    named = {key: data for key, data in sample.items() if not key.startswith("__") and key != LABEL}
    files = [data for key, data in named.items() if key.rpartition(".")[2] != ARRAY]
    return files or list(named.values())


def label(sample: Sample, classes: int) -> int:
    """Label of a sample, from 0 to `classes` - 1.

    Raises:
        DataError: it has none.
    """
    text = sample.get(LABEL, b"")
    if text.isdigit() and int(text[:20]) < classes:
        return int(text)
    raise DataError(
        f"{sample['__key__']} in {sample['__url__']} has no label from 0 to {classes - 1} in its"
        f" .{LABEL} file: write the shards again with wgan prepare"
    )


class _RandomAdapter:
    """The method of `random.Random` that webdataset's shuffle uses, on NumPy's frozen stream."""

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random

    def randint(self, low: int, high: int) -> int:
        return int(self._random.randint(low, high + 1))
