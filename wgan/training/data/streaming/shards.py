"""Shards: which .tar files a pattern names, the index that stands beside them, and their samples.

The index, `shards.json`, says how many images the shards hold and how long each shard is. Shards
that another program wrote have none.
"""

import functools
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wgan.errors import DataError, needs_extra
from wgan.files import write_whole
from wgan.training.data.decode import decode, is_image_name
from wgan.training.data.sources.source import PROBES, suitable_channels

INDEX = "shards.json"


Sample = dict[str, Any]
"""What `webdataset` gives for an image: its file by its ending, `__key__` and `__url__`."""


@dataclass(frozen=True)
class Shards:
    """Shards that are there and whole, as far as their length tells."""

    name: str  # short, for a run's folder: that of the folder they stand in
    paths: list[Path]
    count: int | None  # images in all of them; None where no index says so

    def __str__(self) -> str:
        return f"{self.paths[0]} to {self.paths[-1]}"

    @property
    def channels(self) -> int:
        """The channels that suit the data, told as `Source.channels` tells them."""
        first = itertools.islice(read_samples(self.paths), PROBES)
        return suitable_channels(
            functools.partial(decode, io.BytesIO(image_file(sample))) for sample in first
        )


def is_pattern(data: str) -> bool:
    """Whether `data` names shards, as in `"shards/{000..099}.tar"` or `"shards/*.tar"`."""
    return data.endswith(".tar") and any(mark in data for mark in "{*?")


def find_shards(pattern: str) -> Shards:
    """The shards that `pattern` names, in the order of their names.

    Raises:
        DataError: there are none, one is missing, or one is shorter than its index says.
    """
    with needs_extra("train", purpose="streaming shards"):
        from braceexpand import UnbalancedBracesError, braceexpand  # type: ignore[attr-defined]
    try:
        paths = [path for name in braceexpand(pattern) for path in _match(Path(name))]
    except UnbalancedBracesError as exc:
        raise DataError(f"{pattern!r} cannot be read: its braces do not match") from exc
    for path in paths:
        if not path.is_file():
            raise DataError(f"there is no shard {path}, which {pattern!r} names")
    if not paths:
        raise DataError(f"no file matches {pattern!r}")
    paths = sorted(set(paths))
    return Shards(paths[0].resolve().parent.name or "shards", paths, _check_index(paths))


def write_index(paths: list[Path], count: int) -> None:
    """Write the index of shards that hold `count` images. Raises OutputError."""
    sizes = {path.name: path.stat().st_size for path in paths}
    text = json.dumps({"images": count, "bytes": sizes}, indent=2) + "\n"
    write_whole(paths[0].parent / INDEX, text.encode())


def _match(path: Path) -> list[Path]:
    if not any(mark in path.name for mark in "*?"):
        return [path]
    return list(path.parent.glob(path.name))


def _check_index(paths: list[Path]) -> int | None:
    """The count that the index gives for just these shards, whose sizes are checked."""
    folder = paths[0].parent
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        count, sizes = int(index["images"]), dict(index["bytes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise DataError(f"the index {folder / INDEX} is damaged: remove it to go without") from exc
    for path in paths:
        size, expected = path.stat().st_size, sizes.get(path.name)
        if path.parent == folder and expected is not None and size != expected:
            raise DataError(
                f"the shard {path} has {size} bytes, not the {expected} that it was written with:"
                " copy it again"
            )
    return count if [folder / name for name in sorted(sizes)] == paths else None


def read_samples(
    paths: list[Path],
    wanted: Callable[[Sample], bool] = lambda _: True,
    buffer: int = 0,
    random: np.random.RandomState | None = None,
) -> Iterator[Sample]:
    """The samples of shards, one shard after the other.

    Args:
        paths: the shards.
        wanted: tells which samples are let through.
        buffer: with `random`, so many samples wait, and the next is drawn from among them.
        random: draws; None keeps the order.

    Raises:
        DataError: a shard is damaged.
    """
    with needs_extra("train", purpose="streaming shards"):
        from webdataset import shuffle
        from webdataset.tariterators import group_by_keys, tar_file_expander

    opened = _open(paths)
    files = tar_file_expander(opened, select_files=is_image_name)
    samples = filter(wanted, group_by_keys(files))
    if random is not None:
        samples = shuffle(buffer, initial=buffer, rng=_Dice(random))(samples)
    try:
        yield from samples
    except (OSError, EOFError, ValueError, tarfile.TarError) as exc:
        # webdataset hangs the shard's name on the error, among other things.
        told = [path for path in paths if str(path) in exc.args]
        shard = f"the shard {told[0]}" if told else f"one of the shards in {paths[0].parent}"
        reason = (isinstance(exc, OSError) and exc.strerror) or str(exc.args[0]).partition(" @ ")[0]
        raise DataError(f"{shard} is damaged: {reason}; copy it again") from exc
    finally:
        opened.close()  # the shard that is open now, whoever holds on to the error


def _open(paths: list[Path]) -> Generator[dict[str, Any], None, None]:
    # Not webdataset's own opener, which runs commands and fetches addresses when a name asks for
    # it, and leaves its files open.
    for path in paths:
        with path.open("rb") as stream:
            yield {"url": str(path), "stream": stream}


def image_file(sample: Sample) -> bytes:
    """The sample's image; the first, should it have several."""
    data: bytes = next(value for key, value in sample.items() if not key.startswith("__"))
    return data


class _Dice:
    """The part of `random.Random` that the shuffle buffer uses, on a stream that is frozen."""

    def __init__(self, random: np.random.RandomState) -> None:
        self._random = random

    def randint(self, low: int, high: int) -> int:
        return int(self._random.randint(low, high + 1))
