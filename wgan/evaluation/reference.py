"""The data that generators are held against, looked at once: its summary is kept on disk."""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from wgan.errors import DataError, OutputError
from wgan.evaluation.moments import Moments
from wgan.evaluation.summary import KEPT, Summary, summarise
from wgan.evaluation.vectors import Features
from wgan.files import make_folder, write_whole
from wgan.images import Pixels
from wgan.progress import Progress
from wgan.training.data import Cache, Pictures, Stream

logger = logging.getLogger(__name__)

FORMAT = "wgan-statistics-1"

BATCH = 64
"""Pictures that a feature network looks at in one go."""


def statistics_folder(cache: Cache | None) -> Path | None:
    """Where summaries are kept: in the decoded pictures' folder; None where nothing is kept."""
    return None if cache is None else cache.folder / "statistics"


def load_reference(
    data: Pictures | Stream,
    features: Features,
    n: int | None = None,
    folder: Path | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> Summary:
    """The summary of `n` pictures of the data, evenly spaced; from disk where it is there.

    Args:
        data: what `load_data` gave.
        features: the network.
        n: how many pictures; None for all.
        folder: where summaries are kept, as `statistics_folder` says; None keeps none. One that
            cannot be written is named in a warning.
        progress: makes what shows how far the work is, of so many pictures.

    Raises:
        DataError: there are fewer than 2 pictures, or, in shards, nobody knows how many.
        ModelFileError: as `Features`.
    """
    count = _count(data, n)
    place = folder / f"{_key(data, features, count)}.npz" if folder else None
    if place is not None and (kept := _read(place)) is not None:
        return kept
    if progress is None:
        summary = summarise(pictures_of(data, count), count, features)
    else:
        with progress(count) as bar:
            summary = summarise(pictures_of(data, count), count, features, bar.advance)
    if place is not None:
        _write(place, summary)
    return summary


def pictures_of(data: Pictures | Stream, count: int) -> Iterator[Pixels]:
    """`count` pictures of the data, `BATCH` at a time: evenly spaced; of shards, any.

    Raises:
        DataError: a shard is damaged.
    """
    if isinstance(data, Stream):
        shuffled = data.batches(BATCH, seed=0, device=torch.device("cpu"))
        for first in range(0, count, BATCH):
            yield shuffled.pixels(min(BATCH, count - first))
        return
    places = np.arange(count) * data.count // count
    for first in range(0, count, BATCH):
        yield data.pixels[places[first : first + BATCH]]


def _count(data: Pictures | Stream, n: int | None) -> int:
    there = data.count
    if there is None:
        raise DataError(
            "nobody knows how many pictures these shards hold: write them with  wgan prepare,"
            " which counts"
        )
    count = there if n is None else min(n, there)
    if count < 2:
        raise DataError(f"{count} pictures have no statistics: at least 2 are needed")
    return count


def _key(data: Pictures | Stream, features: Features, count: int) -> str:
    told = json.dumps([FORMAT, data.sha256, features.key, count, KEPT])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _write(place: Path, summary: Summary) -> None:
    moments = summary.moments
    buffer = io.BytesIO()
    np.savez(
        buffer,
        count=moments.count,
        mean=moments.mean,
        scatter=moments.scatter,
        vectors=summary.vectors,
    )
    try:
        make_folder(place.parent)
        write_whole(place, buffer.getvalue())
    except OutputError as exc:
        logger.warning("%s; the data's statistics are not kept", exc)


def _read(place: Path) -> Summary | None:
    """The summary at `place`; None where there is none, or a damaged one, which is named."""
    try:
        with np.load(place, allow_pickle=False) as kept:  # a zip: each record has a checksum
            moments = Moments(int(kept["count"]), kept["mean"], kept["scatter"])
            return Summary(moments, kept["vectors"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        logger.warning("the statistics %s are damaged and are made anew: %s", place, exc)
        return None
