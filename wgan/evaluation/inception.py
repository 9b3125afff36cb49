"""The standard features: TensorFlow's Inception V3 of 2015, converted by torch-fidelity.

Other Inceptions, such as torchvision's, give other numbers that do not compare with published
ones. torch-fidelity's agrees with the original to rounding, including its resizing.
"""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wgan.errors import DataError, UsageError, needs_extra
from wgan.evaluation.features import FeatureBatch
from wgan.files import make_folder, open_regular
from wgan.image_shape import PIXEL_CHANNELS
from wgan.images import Pixels, to_colour

WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"
"""TensorFlow's Inception of 2015-12-05, the one of published FIDs; 91 MB."""

WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_NAME}"

SHA256_PREFIX = "6726825d"
"""First digits of the file's SHA-256, as in its name."""


class InceptionFeatures:
    """The 2,048 numbers before the last layer; an implementation of `Features`.

    `weights` is the file from `find_weights`.

    Raises:
        DataError: the file does not hold the network's weights.
        MissingExtra: torch-fidelity is not installed.
    """

    name = "inception"
    key = "inception-2015-12-05-6726825d"
    has_logits = True

    def __init__(self, weights: Path, device: torch.device) -> None:
        network_class = import_network()
        try:
            # Only tensors: torch-fidelity unpickles the file, which would run any code in it.
            torch.load(weights, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as exc:
            raise DataError(
                f"{weights} does not hold Inception's weights: it is damaged, or holds more than"
                " tensors"
            ) from exc
        try:
            # The original Inception Score uses the logits without bias.
            network = network_class(
                "inception-v3-compat", ["2048", "logits_unbiased"], str(weights)
            )
        except (RuntimeError, TypeError, AttributeError) as exc:
            raise DataError(f"{weights} does not hold Inception's weights: {exc}") from exc
        self._network = network.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> FeatureBatch:
        """Compute the features of `[n, height, width, channels]`; grey is repeated to RGB.

        Alpha is composited over white.

        Raises:
            UsageError: the images have other bands.
        """
        if pixels.shape[3] not in PIXEL_CHANNELS:
            raise UsageError(
                f"the images have {pixels.shape[3]} channels: Inception measures grey and colour;"
                " give --features with an ONNX network of your own"
            )
        pixels = to_colour(pixels)
        # (n, h, w, c) -> (n, c, h, w), uint8
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        vectors, logits = self._network(batch.to(self._device))
        return FeatureBatch(vectors.cpu().numpy(), logits.cpu().numpy())


def import_network() -> Any:  # torch-fidelity has no types
    """Import torch-fidelity's network. Raises MissingExtra."""
    with needs_extra("eval", purpose="Inception features"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    return FeatureExtractorInceptionV3


def default_weights() -> Path:
    """The path in the cache of torch.hub, which torch-fidelity uses too; under `$TORCH_HOME`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME


def find_weights(given: Path | None = None, *, download: bool = False) -> Path:
    """Return the weights' file, after checking its SHA-256.

    Args:
        given: the user's own copy; None is the path of `default_weights`.
        download: download a missing default.

    Raises:
        DataError: the file is missing, is another one, or cannot be downloaded; the message says
            where to get it and where to put it.
        OutputError: its folder cannot be made.
    """
    path = given or default_weights()
    if given is None and download and not path.is_file():
        _download(path)
    try:
        with open_regular(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as exc:  # ValueError: a null byte
        message = f"the Inception weights are not at {path}: download {WEIGHTS_URL}"
        if given is None:
            message += (
                " and put them there, or add --download, or name the file with --weights;"
                " --features FILE.onnx needs none"
            )
        raise DataError(message) from exc
    if not found.startswith(SHA256_PREFIX):
        raise DataError(
            f"{path} does not hold the standard Inception weights: its SHA-256 begins with"
            f" {found[:8]}, not {SHA256_PREFIX}; download {WEIGHTS_URL} again"
        )
    return path


def _download(path: Path) -> None:
    make_folder(path.parent)
    try:
        torch.hub.download_url_to_file(WEIGHTS_URL, str(path), SHA256_PREFIX)
    except (OSError, RuntimeError) as exc:  # RuntimeError: another hash
        raise DataError(
            f"the Inception weights cannot be downloaded from {WEIGHTS_URL}: {exc}; download"
            f" them on another machine and put them at {path}, or name the file with --weights"
        ) from exc
