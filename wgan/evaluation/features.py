"""The interface of feature networks, which map images to vectors."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.images import Pixels

if TYPE_CHECKING:
    import torch

Vectors = npt.NDArray[np.floating]
"""`[n, d]`: a feature vector of each image."""

INCEPTION = "inception"
"""The name of the standard features."""


@dataclass(frozen=True)
class FeatureBatch:
    """The output of a feature network for some images."""

    vectors: npt.NDArray[np.float32]  # [n, d]
    logits: npt.NDArray[np.float32] | None = None  # [n, classes], before the softmax


class Features(Protocol):
    """A network from images to vectors. A vector does not depend on the rest of its batch."""

    name: str
    """`"inception"`, or the name of a file."""
    key: str
    """A hash of the weights and of the preprocessing; identifies cached statistics."""

    has_logits: bool
    """Whether it classifies as well, as the Inception Score needs."""

    def __call__(self, pixels: Pixels) -> FeatureBatch:
        """Compute the features of `[n, height, width, channels]`, n at least 1.

        Raises:
            ModelFileError: the network cannot take such images, or its output is not finite.
        """


def open_features(
    name: str,
    device: "torch.device",
    *,
    provider: str = "auto",
    value_range: tuple[float, float] = (-1.0, 1.0),
    weights: Path | None = None,
    download: bool = False,
) -> Features:
    """Open the feature network `name`: `"inception"`, or the path of an ONNX file.

    Args:
        name: the network.
        device: where Inception runs.
        provider: where an ONNX network runs, as for `wgan.runtime.Generator`.
        value_range: black and white, for an ONNX network with float input.
        weights: as for `find_weights`.
        download: as for `find_weights`.

    Raises:
        DataError: Inception's weights are missing.
        ModelFileError: the file cannot be used.
        UsageError: `weights` are given with another network.
        DeviceError: the provider was named and does not work.
        MissingExtra: a package is not installed.
    """
    # Imported here because the metrics, which import this module, need neither network.
    from wgan.evaluation.inception import InceptionFeatures, find_weights, import_network
    from wgan.evaluation.onnx_features import OnnxFeatures

    if name == INCEPTION:
        import_network()  # fails before a download, if torch-fidelity is missing
        return InceptionFeatures(find_weights(weights, download=download), device)
    if weights is not None:
        raise UsageError(f"--weights goes with --features {INCEPTION}, not with {name}")
    return OnnxFeatures(Path(name), provider, value_range=value_range)


def provider_for(device: str) -> str:
    """Return ONNX Runtime's provider for a device that the user named, as for `pick_device`.

    With `auto` ONNX Runtime chooses for itself: PyTorch may see a GPU while the installed
    onnxruntime is the one for CPUs. Only its first GPU is used, so a GPU's number is dropped.
    """
    kind = device.partition(":")[0]
    return kind if kind in ("cpu", "cuda") else "auto"
