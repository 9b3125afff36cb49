"""The standard features: TensorFlow's Inception V3 of 2015, in PyTorch, by torch-fidelity.

Another Inception, torchvision's among them, gives other numbers: only this one can be held against
published tables. torch-fidelity's agrees with the original to rounding, its resizing included.
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wgan.errors import DataError
from wgan.evaluation.features import Seen
from wgan.extras import needs_extra
from wgan.images import Pixels


class InceptionFeatures:
    """2,048 numbers before the last layer; an implementation of `Features`.

    Args:
        weights: what `find_weights` gave.
        device: where it computes.

    Raises:
        DataError: the file holds something else than the network's weights.
        MissingExtra: torch-fidelity is not installed.
    """

    name = "inception"
    key = "inception-2015-12-05-6726825d"
    has_logits = True

    def __init__(self, weights: Path, device: torch.device) -> None:
        network_class = import_network()
        _check_plain(weights)
        try:
            # The logits without bias are those of the original Inception Score.
            network = network_class(
                "inception-v3-compat", ["2048", "logits_unbiased"], str(weights)
            )
        except (RuntimeError, TypeError, AttributeError) as exc:
            raise DataError(f"{weights} does not hold Inception's weights: {exc}") from exc
        self._network = network.to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Seen:
        """Look at images, `[n, height, width, channels]`; grey ones three times over."""
        if pixels.shape[3] == 1:
            pixels = np.repeat(pixels, 3, axis=3)
        # (n, h, w, c) -> (n, c, h, w), uint8
        batch = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        vectors, logits = self._network(batch.to(self._device))
        return Seen(vectors.cpu().numpy(), logits.cpu().numpy())


def import_network() -> Any:  # torch-fidelity has no types
    """torch-fidelity's network. Raises MissingExtra."""
    with needs_extra("eval", purpose="Inception features"):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    return FeatureExtractorInceptionV3


def _check_plain(weights: Path) -> None:
    """Refuse a file that holds more than tensors: torch-fidelity would run what is in it."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as exc:
        raise DataError(
            f"{weights} does not hold Inception's weights: it is damaged, or holds more than"
            " tensors"
        ) from exc
