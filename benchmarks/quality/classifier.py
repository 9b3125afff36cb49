"""Labelled images of 32x32, and a small classifier that counts modes and gives features."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from wgan.errors import DataError
from wgan.evaluation.feature_metrics import fid
from wgan.evaluation.statistics import Moments
from wgan.files import make_folder, whole_file
from wgan.images import Images, Pixels, to_images, to_pixels
from wgan.training.data.batches import to_batch

FEATURES = 128
CPU = torch.device("cpu")

PADDING = 2
"""Black pixels added around the 28x28 images, instead of resampling them."""

PARTS = {"train": "train", "test": "t10k"}

CLASSES = 10


@dataclass(frozen=True)
class LabelledImages:
    """Images and their labels."""

    pixels: Pixels  # [n, 32, 32, c]
    labels: npt.NDArray[np.int64]  # [n], from 0

    @classmethod
    def load(cls, folder: Path, part: str) -> Self:
        """Read a part ("train" or "test") of the idx files of MNIST or Fashion-MNIST in `folder`.

        Raises:
            DataError: the files do not exist.
        """
        images = _values(folder / f"{PARTS[part]}-images-idx3-ubyte.gz", header=16)
        labels = _values(folder / f"{PARTS[part]}-labels-idx1-ubyte.gz", header=8)
        border = (PADDING, PADDING)
        pixels = np.pad(images.reshape(-1, 28, 28, 1), ((0, 0), border, border, (0, 0)))
        return cls(pixels, labels.astype(np.int64))

    def first(self, n: int) -> Self:
        """Return the first `n` images."""
        return type(self)(self.pixels[:n], self.labels[:n])


def _values(path: Path, header: int) -> npt.NDArray[np.uint8]:
    if not path.exists():
        raise DataError(f"there is no {path}: give the folder of the four idx files with --data")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


class Classifier(nn.Module):
    """Four convolutions and two linear layers, for images of 32x32."""

    def __init__(self, channels: int = 1, classes: int = CLASSES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((channels, 16, 1), (16, 32, 2), (32, 64, 2), (64, 64, 2)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, classes)
        self.accuracy = 0.0
        """On the test images, 0 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, c, 32, 32]` in [-1, 1] -> logits `[n, classes]`."""
        scores: Tensor = self.head(self.body(images))
        return scores

    @torch.inference_mode()
    def features(self, images: Images) -> npt.NDArray[np.float32]:
        """Output of the layer before the last: `[n, c, 32, 32]` -> `[n, FEATURES]`."""
        found: npt.NDArray[np.float32] = self.body(torch.from_numpy(images)).numpy()
        return found

    @torch.inference_mode()
    def classes(self, images: Images) -> npt.NDArray[np.int64]:
        """Most likely classes: `[n, c, 32, 32]` -> `[n]`."""
        found: npt.NDArray[np.int64] = self(torch.from_numpy(images)).argmax(dim=1).numpy()
        return found

    @torch.inference_mode()
    def probabilities(self, images: Images) -> npt.NDArray[np.float32]:
        """Probability of each class: `[n, c, 32, 32]` -> `[n, classes]`."""
        found: npt.NDArray[np.float32] = self(torch.from_numpy(images)).softmax(dim=1).numpy()
        return found


class ClassifierFid:
    """FID in the features of a classifier, against real images."""

    def __init__(self, classifier: Classifier, real: LabelledImages) -> None:
        self.classifier = classifier
        self._real = self._moments(image_batches(real))

    def __call__(self, images: Iterable[Images]) -> float:
        """Compute the FID of images, rounded to pixels as a viewer gets them."""
        rounded = (to_images(to_pixels(some)) for some in images)
        return fid(self._real, self._moments(rounded))

    def _moments(self, images: Iterable[Images]) -> Moments:
        # All vectors at once: 60,000 take 30 MB.
        return Moments.of(np.concatenate([self.classifier.features(some) for some in images]))


def trained_classifier(
    path: Path, train: LabelledImages, test: LabelledImages, epochs: int = 4
) -> Classifier:
    """Load the classifier at `path`, or train one and save it there; in eval mode."""
    shape = train.pixels.shape[3], int(train.labels.max()) + 1
    classifier = Classifier(*shape)
    if path.exists():
        state: dict[str, Any] = torch.load(path, weights_only=True)
        classifier.load_state_dict(state["weights"])
        classifier.accuracy = state["accuracy"]
        return classifier.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Classifier(*shape)
    _fit(classifier, train, epochs)
    classifier.eval()
    guesses = np.concatenate([classifier.classes(part) for part in image_batches(test)])
    classifier.accuracy = float((guesses == test.labels).mean())
    make_folder(path.parent)
    with whole_file(path) as file:
        torch.save({"weights": classifier.state_dict(), "accuracy": classifier.accuracy}, file)
    return classifier


def image_batches(data: LabelledImages, size: int = 500) -> Iterator[Images]:
    """Yield images `[size, c, 32, 32]` in [-1, 1]."""
    for start in range(0, len(data.pixels), size):
        yield to_batch(data.pixels[start : start + size], CPU).numpy()


def _fit(classifier: Classifier, data: LabelledImages, epochs: int, batch_size: int = 100) -> None:
    """Train with Adam and a cosine schedule from 2e-3 to 0."""
    optimizer = torch.optim.Adam(classifier.parameters(), 2e-3, fused=True)
    batch_size = min(batch_size, len(data.labels))
    steps = len(data.labels) // batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
    for epoch in range(epochs):
        order = np.random.RandomState(epoch).permutation(len(data.labels))
        for step in range(steps):
            chosen = order[step * batch_size : (step + 1) * batch_size]
            scores = classifier(to_batch(data.pixels[chosen], CPU))
            loss = functional.cross_entropy(scores, torch.from_numpy(data.labels[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
