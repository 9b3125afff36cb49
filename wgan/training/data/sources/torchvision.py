"""Data sets of torchvision by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from wgan.errors import DataError, needs_extra
from wgan.training.data.cache import CACHE_VARIABLE, cache_folder
from wgan.training.data.sources.folder import FolderSource
from wgan.training.data.sources.source import ArraySource, ImageSource


def open_torchvision(name: str, download: bool) -> ImageSource:
    """Open the data set `name`, one of NAMES, in the folder `datasets` of the cache.

    Args:
        name: the data set.
        download: download it if it is missing.

    Raises:
        DataError: it is missing, damaged or could not be downloaded.
        MissingExtra: a package that reads it is not installed.
    """
    root = cache_folder() / "datasets"
    with needs_extra("train", purpose=f"the data set {name}"):
        try:
            source = NAMES[name](root, download)
        except (RuntimeError, OSError, EOFError, ValueError) as exc:
            raise DataError(_advice(name, root, download, exc)) from exc
    source.name = name
    return source


def _advice(name: str, root: Path, download: bool, exc: Exception) -> str:
    if download:
        return f"the data set {name} could not be downloaded to {root}: {exc}"
    return (
        f"the data set {name} is missing or incomplete in {root}: download it with"
        f"  wgan train {name} --download  or set {CACHE_VARIABLE} to the folder above"
    )


def _mnist(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import MNIST

    return ArraySource("mnist", MNIST(root, train=True, download=download).data.numpy())


def _fashion_mnist(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import FashionMNIST

    data = FashionMNIST(root, train=True, download=download).data
    return ArraySource("fashion-mnist", data.numpy())


def _cifar10(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import CIFAR10

    return ArraySource("cifar10", CIFAR10(root, train=True, download=download).data)


def _stl10(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import STL10

    # Most of the set are its 100,000 images without labels.
    data = STL10(root, split="train+unlabeled", download=download).data
    return ArraySource("stl10", _channels_last(data))


def _svhn(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import SVHN

    # Unlike the other classes, SVHN creates no subfolder.
    data = SVHN(root / "svhn", split="train", download=download).data
    return ArraySource("svhn", _channels_last(data))


def _celeba(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import CelebA

    CelebA(root, split="all", download=download)  # downloads and checks; the labels are unused
    return FolderSource(root / "celeba" / "img_align_celeba")


def _channels_last(
    pixels: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))  # (n, c, h, w) -> (n, h, w, c)


NAMES: Mapping[str, Callable[[Path, bool], ImageSource]] = MappingProxyType(
    {
        "mnist": _mnist,
        "fashion-mnist": _fashion_mnist,
        "cifar10": _cifar10,
        "celeba": _celeba,
        "stl10": _stl10,
        "svhn": _svhn,
    }
)
"""Loader of each data set."""
