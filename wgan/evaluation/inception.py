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

from wgan.errors import DataError, needs_extra
from wgan.evaluation.features import FeatureBatch
from wgan.files import make_folder
from wgan.images import Pixels

WEIGHTS_NAME = "weights-inception-2015-12-05-6726825d.pth"
"""TensorFlow's Inception of 2015-12-05, the one of published FIDs; 91 MB."""

WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_NAME}"

SHA256_PREFIX = "6726825d"
"""First digits of the file's SHA-256, as in its name."""


class InceptionFeatures:
    """The 2,048 numbers before the last layer; an implementation of `Features`.

    Args:
        weights: the file from `find_weights`.
        device: where to compute.

    Raises:
        DataError: the file does not hold the network's weights.
        MissingExtra: torch-fidelity is not installed.
    """

    name = "inception"
    key = "inception-2015-12-05-6726825d"
    has_logits = True

    def __init__(self, weights: Path, device: torch.device) -> None:
        network_class = import_network()
        _check_plain(weights)
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
        """Compute the features of `[n, height, width, channels]`; grey is repeated to RGB."""
        if pixels.shape[3] == 1:
            pixels = np.repeat(pixels, 3, axis=3)
        # (n, h, w, c) -> (n, c, h, w), uint8
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        vectors, logits = self._network(batch.to(self._device))
        return FeatureBatch(vectors.cpu().numpy(), logits.cpu().numpy())


def import_network() -> Any:  # torch-fidelity has no types
    """Import torch-fidelity's network. Raises MissingExtra."""
    with needs_extra("eval", purpose="Inception features"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    return FeatureExtractorInceptionV3


def _check_plain(weights: Path) -> None:
    """Refuse a file with more than tensors: torch-fidelity would unpickle it, which runs code."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as exc:
        raise DataError(
            f"{weights} does not hold Inception's weights: it is damaged, or holds more than"
            " tensors"
        ) from exc


def default_weights() -> Path:
    """The path in the cache of torch.hub, which torch-fidelity uses too; under `$TORCH_HOME`."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_NAME


def find_weights(
    given: Path | None = None,
    *,
    download: bool = False,
    default: Path | None = None,
    url: str = WEIGHTS_URL,
    sha256_prefix: str = SHA256_PREFIX,
) -> Path:
    """Return the weights' file, after checking its SHA-256.

    Args:
        given: the user's own copy; None is `default`.
        download: download a missing `default`.
        default: the path; None is that of `default_weights`.
        url: the address of the download.
        sha256_prefix: the first digits of the file's SHA-256.

    Raises:
        DataError: the file is missing, is another one, or cannot be downloaded; the message says
            where to get it and where to put it.
        OutputError: its folder cannot be made.
    """
    path = given or default or default_weights()
    if given is None and download and not path.is_file():
        _download(url, path, sha256_prefix)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise DataError(_advice(path, given, url)) from exc
    if not found.startswith(sha256_prefix):
        raise DataError(
            f"{path} does not hold the standard Inception weights: its SHA-256 begins with"
            f" {found[:8]}, not {sha256_prefix}; download {url} again"
        )
    return path


def _download(url: str, path: Path, sha256_prefix: str) -> None:
    make_folder(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), sha256_prefix)
    except (OSError, RuntimeError) as exc:  # RuntimeError: another hash
        raise DataError(
            f"the Inception weights cannot be downloaded from {url}: {exc}; download them on"
            f" another machine and put them at {path}, or name the file with --weights"
        ) from exc


def _advice(path: Path, given: Path | None, url: str) -> str:
    if given is not None:
        return f"there are no Inception weights {given}: download {url}"
    return (
        f"the Inception weights are not at {path}: add --download, or download {url} and put it"
        " there, or name the file with --weights; --features FILE.onnx needs none"
    )
