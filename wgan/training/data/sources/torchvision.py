"""Data sets by name, by way of torchvision: where they are kept, and how they are fetched."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from wgan.errors import DataError, needs_extra
from wgan.training.data.paths import CACHE_VARIABLE
from wgan.training.data.sources.folder import FolderSource
from wgan.training.data.sources.source import ArraySource, ImageSource


def open_named(name: str, root: Path, download: bool) -> ImageSource:
    """Open the data set `name`, one of NAMES, kept under `root` as torchvision lays it out.

    Args:
        name: the data set.
        root: the folder of all data sets.
        download: fetch it first, unless it is there.

    Raises:
        DataError: it is not there, is damaged or could not be fetched.
        MissingExtra: a package that reads it is not installed.
    """
    with needs_extra("train", purpose=f"the data set {name}"):
        try:
            source = NAMES[name](root, download)
        except (RuntimeError, OSError, EOFError, ValueError) as exc:
            raise DataError(_advice(name, root, download, exc)) from exc
    source.name = name
    return source


def _advice(name: str, root: Path, download: bool, exc: Exception) -> str:
    if download:
        return f"the data set {name} could not be fetched to {root}: {exc}"
    return (
        f"the data set {name} was not found whole under {root}: fetch it with"
        f"  wgan train {name} --download  or point {CACHE_VARIABLE} at the folder above"
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

    # The 100,000 images without labels are what the set is there for.
    data = STL10(root, split="train+unlabeled", download=download).data
    return ArraySource("stl10", _channels_last(data))


def _svhn(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import SVHN

    # The others make a folder of their own under root; this one does not.
    data = SVHN(root / "svhn", split="train", download=download).data
    return ArraySource("svhn", _channels_last(data))


def _celeba(root: Path, download: bool) -> ImageSource:
    from torchvision.datasets import CelebA

    CelebA(root, split="all", download=download)  # fetches and checks; its labels are not used
    return FolderSource(root / "celeba" / "img_align_celeba")


def _channels_last(
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
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
"""The data sets that can be asked for by name, beside `glyphs`."""
