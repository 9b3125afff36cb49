"""The reference: the real images that generators are compared with, and their statistics.

The statistics are computed once and cached on disk.
"""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from wgan.errors import DataError, OutputError, UsageError
from wgan.evaluation.features import Features
from wgan.evaluation.generators import DEFAULT_BACKGROUND, DEFAULT_CROP, EvaluatedGenerator
from wgan.evaluation.statistics import (
    MAX_FEATURES,
    FeatureStatistics,
    Moments,
    feature_statistics,
)
from wgan.files import make_folder, write_whole
from wgan.progress import Progress
from wgan.training.data import Cache, Dataset, Transform, parse_colour

logger = logging.getLogger(__name__)

FORMAT = "wgan-statistics-1"

BATCH_SIZE = 64
"""Real images per batch of a feature network."""


def choose_data(generators: Sequence[EvaluatedGenerator], data: str | None) -> str:
    """Return the name of the real images: `data`, or else what every generator was trained on.

    Raises:
        UsageError: `data` is None, and no generator names its data, or two name different data.
    """
    if data is not None:
        return data
    known = [each for each in generators if each.data]
    if not known:
        raise UsageError(f"an exported file does not say where its data is{_hint(generators)}")
    first = known[0]
    for other in known[1:]:
        if other.data != first.data:
            raise UsageError(
                f"{first.name} and {other.name} were trained on different data, {first.data} and"
                f" {other.data}: give --data"
            )
    assert first.data is not None
    return first.data


def _hint(generators: Sequence[EvaluatedGenerator]) -> str:
    """What to do about unknown data, with its name if a manifest has it."""
    name = generators[0].settings.get("data")
    if not isinstance(name, str) or not name:
        return ": give --data"
    return f", only that it is called {name[:80]!r}: give --data"


def choose_transform(generators: Sequence[EvaluatedGenerator], features: Features) -> Transform:
    """Return the preparation of real images: as for the generators' training.

    Generators without settings accept any; if none has settings, nothing is cropped.

    Args:
        generators: what is evaluated.
        features: checked to accept such images.

    Raises:
        UsageError: the generators' images differ in size or preparation, or are not square.
        ModelFileError: the features do not accept them.
    """
    first = generators[0]
    for other in generators[1:]:
        if other.shape != first.shape:
            raise UsageError(
                f"{first.name} generates images of {_size(first.shape)}, {other.name} of"
                f" {_size(other.shape)}: evaluate them one by one"
            )
    height, width, channels = first.shape
    if height != width:
        raise UsageError(
            f"{first.name} generates images of {_size(first.shape)}: only square images can be"
            " evaluated"
        )
    settings = _common_settings(generators)
    transform = Transform(
        size=height,
        channels=channels,
        crop=settings.get("crop", DEFAULT_CROP),
        background=parse_colour(settings.get("background", DEFAULT_BACKGROUND)),
    )
    features(np.zeros((1, *transform.shape), np.uint8))
    return transform


def _common_settings(generators: Sequence[EvaluatedGenerator]) -> Mapping[str, Any]:
    """Return the settings of the first generator that has any, checked against the others'."""
    known = [each for each in generators if each.settings]
    for other in known[1:]:
        for name, default, parse in (
            ("crop", DEFAULT_CROP, int),
            ("background", DEFAULT_BACKGROUND, parse_colour),
        ):
            one, two = (each.settings.get(name, default) for each in (known[0], other))
            if parse(one) != parse(two):
                raise UsageError(
                    f"{known[0].name} was trained with --{name} {one}, {other.name} with"
                    f" --{name} {two}, so no real images suit both: evaluate them one by one"
                )
    return known[0].settings if known else {}


def _size(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width}x{height}x{channels}"


def statistics_folder(cache: Cache | None) -> Path | None:
    """The folder of cached statistics, within the cache of decoded images; None without one."""
    return None if cache is None else cache.folder / "statistics"


def load_reference(
    data: Dataset,
    features: Features,
    n: int | None = None,
    folder: Path | None = None,
    progress: bool = False,
) -> FeatureStatistics:
    """Return the statistics of `n` images of the data, evenly spaced; from disk if cached.

    Args:
        data: the real images.
        features: the network.
        n: the number of images; None for all.
        folder: the cache, as from `statistics_folder`; None for none. If it cannot be written, a
            warning says so.
        progress: whether to show a progress bar on standard error.

    Raises:
        DataError: there are fewer than 2 images, or shards do not say how many they hold.
        ModelFileError: as `Features`.
    """
    count = _count(data, n)
    path = folder / f"{_key(data, features, count)}.npz" if folder else None
    if path is not None and (cached := _read(path)) is not None:
        return cached
    with Progress(count, "data", "images") if progress else nullcontext() as bar:
        statistics = feature_statistics(data.images(count, BATCH_SIZE), count, features, bar)
    if path is not None:
        _write(path, statistics)
    return statistics


def _count(data: Dataset, n: int | None) -> int:
    available = data.count
    if available is None:
        raise DataError(
            "the number of images in these shards is unknown: write them with  wgan prepare,"
            " which counts them"
        )
    count = available if n is None else min(n, available)
    if count < 2:
        raise DataError(f"{count} images have no statistics: at least 2 are needed")
    return count


def _key(data: Dataset, features: Features, count: int) -> str:
    identity = json.dumps([FORMAT, data.sha256, features.key, count, MAX_FEATURES])
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def _write(path: Path, statistics: FeatureStatistics) -> None:
    moments = statistics.moments
    buffer = io.BytesIO()
    np.savez(
        buffer,
        count=moments.count,
        mean=moments.mean,
        scatter=moments.scatter,
        vectors=statistics.vectors,
    )
    try:
        make_folder(path.parent)
        write_whole(path, buffer.getvalue())
    except OutputError as exc:
        logger.warning("%s; the statistics of the data are not cached", exc)


def _read(path: Path) -> FeatureStatistics | None:
    """Read cached statistics; None if there are none, or damaged ones, with a warning."""
    try:
        with np.load(path, allow_pickle=False) as arrays:  # a zip, whose records have checksums
            moments = Moments(int(arrays["count"]), arrays["mean"], arrays["scatter"])
            return FeatureStatistics(moments, arrays["vectors"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        logger.warning("the statistics %s are damaged and will be computed again: %s", path, exc)
        return None
