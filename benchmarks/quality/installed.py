"""The generator that is installed with wgan: its FID, and whether it draws the class asked for.

    python -m benchmarks.quality.installed RESULTS [FILE...] [--data ../shared/data/fashion-mnist]
        [--count 60000] [--write docs/quality.md]

Each FILE is an export of the run of `wgan/runtime/builtin/make_generator.sh`, or another generator
with its classes; without one the installed generator is measured. The FID is taken in the features
of a classifier that the script trains on the same images of 32x32.
"""

from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.classifier import (
    ClassifierFid,
    LabelledImages,
    image_batches,
    trained_classifier,
)
from benchmarks.quality.conditional import score
from benchmarks.quality.records import arguments, publish, table
from wgan.images import to_images
from wgan.runtime import Generator
from wgan.runtime.builtin import builtin_model
from wgan.training.data import Transform, load_images, open_source

CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "boot"),
)
"""Names of the labels 0 to 9, as in make_generator.sh."""

SCORED = 10_000
"""Generated images per file."""


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = arguments(__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fashion-mnist"))
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--count", type=int, default=60_000, help="most training images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, test = (labelled(options.data / name).first(options.count) for name in ("train", "t10k"))
    classifier = trained_classifier(options.results / "installed" / "classifier.pt", train, test)
    metric = ClassifierFid(classifier, train)
    rows = [measured(file, metric, options.scored) for file in options.files or [builtin_model()]]
    about = (
        f"    {describe_machine('torch', 'onnxruntime')}\n    {options.scored:,} images; the"
        f" classifier recognises {classifier.accuracy:.2%} of new images,\n    whose own FID is"
        f" {metric(image_batches(test)):.2f}"
    )
    heads = ("steps", "MB", "FID", "of the class asked for, %", "in the worst class, %")
    publish(f"{about}\n\n{table(heads, rows)}", "installed", options.write)


def labelled(prefix: Path) -> LabelledImages:
    """Read idx files as `wgan train --size 32` does, which enlarges the images."""
    source = open_source(prefix.with_name(f"{prefix.name}-images-idx3-ubyte.gz"))
    images = load_images(source, Transform(size=32, channels=1))
    assert images.labels is not None
    return LabelledImages(images.pixels, images.labels.astype(np.int64))


def measured(file: Path, metric: ClassifierFid, scored: int) -> tuple[str, ...]:
    """Return the row of an exported file."""
    labels = np.arange(scored) % len(CLASSES)
    with Generator(file, device="cpu", threads=1) as generator:
        asked = [generator.classes.index(CLASSES[label]) for label in labels]
        found = score(to_images(generator.sample(scored, labels=asked)), labels, metric)
        manifest = generator.manifest
    return (
        f"{manifest.step:,}" if manifest is not None else "",
        f"{file.stat().st_size / 1e6:.1f}",
        f"{found.fid:.1f}",
        f"{100 * found.accuracy:.1f}",
        f"{100 * found.worst:.1f}",
    )


if __name__ == "__main__":
    main()
