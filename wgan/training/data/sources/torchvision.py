"""Data sets of torchvision by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wgan.errors import DataError, needs_extra
from wgan.stop import stop_at_once
from wgan.training.data.pixel_cache import CACHE_VARIABLE, cache_folder
from wgan.training.data.sources import ArraySource, ImageSource
from wgan.training.data.sources.image_files import FolderSource
from wgan.training.data.sources.labelling import classes_of_column

NAMES = ("mnist", "fashion-mnist", "cifar10", "celeba", "stl10", "svhn")


def open_torchvision(name: str, download: bool) -> ImageSource:
    """Open the data set `name`, one of NAMES, in the folder `datasets` of the cache.

    Raises:
        DataError: it is missing, damaged or could not be downloaded.
        MissingExtra: a package that reads it is not installed.
    """
    root = cache_folder() / "datasets"
    # A download takes minutes and checks no flag; torchvision verifies what it finds next time.
    with needs_extra("train", purpose=f"the data set {name}"), stop_at_once():
        try:
            source = _open(name, root, download)
        except (RuntimeError, OSError, EOFError, ValueError) as exc:
            advice = (
                f"could not be downloaded to {root}: {exc}"
                if download
                else f"is missing or incomplete in {root}: download it with"
                f"  wgan train {name} --download  or set {CACHE_VARIABLE} to the folder that has it"
            )
            raise DataError(f"the data set {name} {advice}") from exc
    source.name = name
    return source


def _open(name: str, root: Path, download: bool) -> ImageSource:
    from torchvision import datasets

    if name == "celeba":
        datasets.CelebA(root, split="all", download=download)  # only downloads and checks
        return FolderSource(root / "celeba" / "img_align_celeba")
    if name in ("mnist", "fashion-mnist"):
        kind = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
        data = kind(root, download=download)
        return _array_source(name, data.data.numpy(), data.targets, data.classes)
    if name == "cifar10":
        data = datasets.CIFAR10(root, download=download)
        return _array_source(name, data.data, data.targets, data.classes)
    if name == "stl10":
        # Most of the set are its 100,000 images without labels.
        data = datasets.STL10(root, split="train+unlabeled", download=download)
    else:
        # Unlike the other classes, SVHN creates no subfolder.
        data = datasets.SVHN(root / "svhn", download=download)
    return _array_source(name, data.data.transpose(0, 2, 3, 1), data.labels)  # (n, c, h, w)


def _array_source(name: str, pixels: Any, targets: Any, classes: Sequence[str] = ()) -> ArraySource:
    # "0 - zero" is the class 0 of MNIST.
    names = [text.partition(" - ")[0] for text in classes]
    found = classes_of_column(np.asarray(targets), names)
    return ArraySource(name, np.ascontiguousarray(pixels), *found)
