"""A small convolutional classifier: it counts modes, and its last features are what FID sees."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.quality.labelled import CLASSES, Labelled
from wgan.files import make_folder, whole_file
from wgan.images import Images
from wgan.training.data.batches import to_batch

FEATURES = 128
CPU = torch.device("cpu")


class Classifier(nn.Module):
    """Four convolutions and two linear layers, for grey images of 32x32."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2), (64, 64, 2)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 4 * 4, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, CLASSES)
        self.accuracy = 0.0
        """On the test images, 0 to 1."""

    def forward(self, images: Tensor) -> Tensor:
        """Images `[n, 1, 32, 32]` in [-1, 1] -> the scores of the classes `[n, 10]`."""
        scores: Tensor = self.head(self.body(images))
        return scores

    @torch.inference_mode()
    def features(self, images: Images) -> npt.NDArray[np.float32]:
        """What the last layer but one gives: `[n, 1, 32, 32]` -> `[n, FEATURES]`."""
        found: npt.NDArray[np.float32] = self.body(torch.from_numpy(images)).numpy()
        return found

    @torch.inference_mode()
    def classes(self, images: Images) -> npt.NDArray[np.int64]:
        """The most likely class of each: `[n, 1, 32, 32]` -> `[n]`."""
        found: npt.NDArray[np.int64] = self(torch.from_numpy(images)).argmax(dim=1).numpy()
        return found


def trained_classifier(path: Path, train: Labelled, test: Labelled, epochs: int = 4) -> Classifier:
    """The classifier kept at `path`, or a new one that is trained and kept there; in eval mode."""
    classifier = Classifier()
    if path.exists():
        state: dict[str, Any] = torch.load(path, weights_only=True)
        classifier.load_state_dict(state["weights"])
        classifier.accuracy = state["accuracy"]
        return classifier.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Classifier()
    _fit(classifier, train, epochs)
    classifier.eval()
    guesses = np.concatenate([classifier.classes(part) for part in image_parts(test)])
    classifier.accuracy = float((guesses == test.labels).mean())
    make_folder(path.parent)
    with whole_file(path) as file:
        torch.save({"weights": classifier.state_dict(), "accuracy": classifier.accuracy}, file)
    return classifier


def image_parts(data: Labelled, size: int = 500) -> Iterator[Images]:
    """The images as images, a part at a time."""
    for start in range(0, len(data.pixels), size):
        yield to_batch(data.pixels[start : start + size], CPU).numpy()


def _fit(classifier: Classifier, data: Labelled, epochs: int, batch_size: int = 100) -> None:
    """Adam, its learning rate falling from 2e-3 to 0 by a cosine."""
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
