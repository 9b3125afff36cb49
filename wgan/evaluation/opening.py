"""From what the user names to features and real images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wgan.errors import UsageError
from wgan.evaluation.features import Features
from wgan.evaluation.generators import NO_CROP, WHITE, EvaluatedGenerator
from wgan.evaluation.inception import InceptionFeatures, import_network
from wgan.evaluation.onnx_features import SYMMETRIC, OnnxFeatures
from wgan.evaluation.weights import find_weights
from wgan.runtime.image_output import ValueRange
from wgan.training.data import (
    Cache,
    InMemoryDataset,
    StreamingDataset,
    Transform,
    load_data,
    open_data,
    parse_colour,
)

INCEPTION = "inception"
"""The name of the standard features."""


def open_features(
    name: str,
    device: torch.device,
    *,
    provider: str = "auto",
    value_range: ValueRange = SYMMETRIC,
    weights: Path | None = None,
    download: bool = False,
) -> Features:
    """Open the feature network `name`: `"inception"`, or an ONNX file's path.

    Args:
        name: the network.
        device: where Inception computes.
        provider: where an ONNX network does, as for `wgan.runtime.Generator`.
        value_range: black and white, for an ONNX network with float input.
        weights: as for `find_weights`.
        download: as for `find_weights`.

    Raises:
        DataError: Inception's weights are not there.
        ModelFileError: the file cannot be used.
        UsageError: `weights` are given with another network.
        DeviceError: the provider was named and does not work.
        MissingExtra: a package is not installed.
    """
    if name == INCEPTION:
        import_network()  # before anybody fetches weights that nothing could read
        return InceptionFeatures(find_weights(weights, download=download), device)
    if weights is not None:
        raise UsageError(f"--weights goes with --features {INCEPTION}, not with {name}")
    return OnnxFeatures(Path(name), provider, value_range=value_range)


def provider_for(device: str) -> str:
    """What `wgan.runtime` calls the device that the user named, as for `pick_device`.

    What was not named is ONNX Runtime's own choice: PyTorch may see a GPU where the installed
    onnxruntime is that for CPUs. It takes the first GPU alone, so a GPU's number is left out.
    """
    kind = device.partition(":")[0]
    return kind if kind in ("cpu", "cuda") else "auto"


def choose_data(candidates: Sequence[EvaluatedGenerator], data: str | None) -> str:
    """What the candidates are held against: `data`, or else what all of them were trained on.

    Raises:
        UsageError: `data` is None, and nobody says what it is, or two say different things.
    """
    if data is not None:
        return data
    known = [each for each in candidates if each.data]
    if not known:
        raise UsageError(f"an exported file does not say where its data is{_called(candidates)}")
    first = known[0]
    for other in known[1:]:
        if other.data != first.data:
            raise UsageError(
                f"{first.name} and {other.name} were trained on different data, {first.data} and"
                f" {other.data}: give --data"
            )
    assert first.data is not None
    return first.data


def _called(candidates: Sequence[EvaluatedGenerator]) -> str:
    """What to do about missing data, and what its name was, where a manifest has kept that."""
    name = candidates[0].settings.get("data")
    if not isinstance(name, str) or not name:
        return ": give --data"
    return f", only that it is called {name[:80]!r}: give --data"


def choose_transform(candidates: Sequence[EvaluatedGenerator], features: Features) -> Transform:
    """How real images are prepared, as they were for the candidates' training.

    Of a file that does not say how, the others decide; nothing is cut off where nobody says.

    Args:
        candidates: what is judged.
        features: have to take such images.

    Raises:
        UsageError: the candidates' images differ in size or preparation, or are no squares.
        ModelFileError: the features do not take them.
    """
    shape = candidates[0].shape
    for candidate in candidates[1:]:
        if candidate.shape != shape:
            raise UsageError(
                f"{candidates[0].name} draws images of {_size(shape)}, {candidate.name} of"
                f" {_size(candidate.shape)}: judge them one by one"
            )
    height, width, channels = shape
    if height != width:
        raise UsageError(
            f"{candidates[0].name} draws images of {_size(shape)}: squares alone are judged"
        )
    settings = _common_settings(candidates)
    transform = Transform(
        size=height,
        channels=channels,
        crop=settings.get("crop", NO_CROP),
        background=parse_colour(settings.get("background", WHITE)),
    )
    features(np.zeros((1, *transform.shape), np.uint8))
    return transform


def _common_settings(candidates: Sequence[EvaluatedGenerator]) -> Mapping[str, Any]:
    """Those of the first candidate that has any, once the others are seen to prepare alike."""
    known = [each for each in candidates if each.settings]
    for other in known[1:]:
        for name, default, read in (("crop", NO_CROP, int), ("background", WHITE, parse_colour)):
            one, two = (each.settings.get(name, default) for each in (known[0], other))
            if read(one) != read(two):
                raise UsageError(
                    f"{known[0].name} was trained with --{name} {one}, {other.name} with"
                    f" --{name} {two}, so that no images suit both: judge them one by one"
                )
    return known[0].settings if known else {}


def open_images(
    data: str,
    transform: Transform,
    *,
    download: bool = False,
    cache: Cache | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> InMemoryDataset | StreamingDataset:
    """Load real images.

    Args:
        data: as for `wgan train`.
        transform: how they are prepared.
        download: fetch a data set by name that is not there.
        cache: where decoded images are kept.
        progress: as for `load_data`.

    Raises:
        DataError: the data is not there, or damaged.
    """
    return load_data(
        open_data(data, download=download),
        size=transform.size,
        channels=transform.channels,
        crop=transform.crop,
        background=transform.background,
        allow_damaged=True,  # the training saw to it; what is skipped is said
        progress=progress,
        cache=cache,
    )


def _size(shape: tuple[int, int, int]) -> str:
    height, width, channels = shape
    return f"{width}x{height}x{channels}"
