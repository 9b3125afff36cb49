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
from wgan.evaluation.feature_statistics import KEPT, Summary, summarise
from wgan.evaluation.features import Features
from wgan.evaluation.moments import Moments
from wgan.files import make_folder, write_whole
from wgan.images import Pixels
from wgan.progress import Progress
from wgan.training.data import Cache, InMemoryDataset, StreamingDataset

logger = logging.getLogger(__name__)

FORMAT = "wgan-statistics-1"

BATCH = 64
"""Images that a feature network looks at in one go."""


def statistics_folder(cache: Cache | None) -> Path | None:
    """Where summaries are kept: in the decoded images' folder; None where nothing is kept."""
    return None if cache is None else cache.folder / "statistics"


def load_reference(
    data: InMemoryDataset | StreamingDataset,
    features: Features,
    n: int | None = None,
    folder: Path | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> Summary:
    """The summary of `n` images of the data, evenly spaced; from disk where it is there.

    Args:
        data: what `load_data` gave.
        features: the network.
        n: how many images; None for all.
        folder: where summaries are kept, as `statistics_folder` says; None keeps none. One that
            cannot be written is named in a warning.
        progress: makes what shows how far the work is, of so many images.

    Raises:
        DataError: there are fewer than 2 images, or, in shards, nobody knows how many.
        ModelFileError: as `Features`.
    """
    count = _count(data, n)
    place = folder / f"{_key(data, features, count)}.npz" if folder else None
    if place is not None and (kept := _read(place)) is not None:
        return kept
    if progress is None:
        summary = summarise(images_of(data, count), count, features)
    else:
        with progress(count) as bar:
            summary = summarise(images_of(data, count), count, features, bar.advance)
    if place is not None:
        _write(place, summary)
    return summary


def images_of(data: InMemoryDataset | StreamingDataset, count: int) -> Iterator[Pixels]:
    """`count` images of the data, `BATCH` at a time: evenly spaced; of shards, any.

    Raises:
        DataError: a shard is damaged.
    """
    if isinstance(data, StreamingDataset):
        shuffled = data.batches(BATCH, seed=0, device=torch.device("cpu"))
        for first in range(0, count, BATCH):
            yield shuffled.pixels(min(BATCH, count - first))
        return
    places = np.arange(count) * data.count // count
    for first in range(0, count, BATCH):
        yield data.pixels[places[first : first + BATCH]]


def _count(data: InMemoryDataset | StreamingDataset, n: int | None) -> int:
    there = data.count
    if there is None:
        raise DataError(
            "nobody knows how many images these shards hold: write them with  wgan prepare,"
            " which counts"
        )
    count = there if n is None else min(n, there)
    if count < 2:
        raise DataError(f"{count} images have no statistics: at least 2 are needed")
    return count


def _key(data: InMemoryDataset | StreamingDataset, features: Features, count: int) -> str:
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
