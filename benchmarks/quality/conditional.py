"""Conditional runs against unconditional ones: the same networks, at equal CPU time.

    python -m benchmarks.quality.conditional RESULTS [--data ../shared/data] [--set cifar10]
        [--seeds 3] [--cpu-seconds 1200] [--write docs/quality.md]

The sets are Fashion-MNIST and CIFAR-10. A classifier that this script trains on the same images
names the generated ones: how many show the class that was asked for, where an unconditional run can
only guess. Its features give the FID, which compares only with the other rows of a set. Time is CPU
time on one thread: a few measured steps decide how many fit. An interrupted run continues.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.quality.classifier import (
    ClassifierFid,
    LabelledImages,
    image_batches,
    trained_classifier,
)
from benchmarks.quality.image_runs import load_generator, planned_steps, train_for
from benchmarks.quality.records import (
    Record,
    arguments,
    is_done,
    load_records,
    publish,
    save_record,
    spread,
    table,
)
from wgan.errors import DataError
from wgan.files import write_whole
from wgan.images import Images, encode, grid, to_pixels
from wgan.latents import latents_from_seeds
from wgan.training.config import TrainConfig
from wgan.training.data import Transform, load_images, open_source

SCORED = 10_000
"""Generated images per score."""

HELD_OUT = 5000
"""Images of CIFAR-10 for the classifier's accuracy, which no network is trained on."""

COLUMNS = 8
"""Images of a class in a sheet."""

EPOCHS = {"fashion-mnist": 4, "cifar10": 12}
"""Of the classifier."""

COMMON: Mapping[str, Any] = MappingProxyType(
    {"checkpoint_every": 10**6, "preview_every": 10**6, "log_every": 100, "width": 16}
)


@dataclass(frozen=True)
class Parts:
    """What the networks learn from, and images that they never see."""

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]

    @classmethod
    def fashion_mnist(cls, data: Path) -> Self:
        """Read the idx files."""
        train, test = (
            LabelledImages.load(data / "fashion-mnist", part) for part in ("train", "test")
        )
        return cls(train, test, tuple(map(str, range(10))))

    @classmethod
    def cifar10(cls, data: Path) -> Self:
        """Read the images in the folders of their classes; the last of a random order are held out.

        Raises:
            DataError: the images have no classes.
        """
        source = open_source(data / "cifar10-jpeg" / "cifar10-train-jpeg.zip")
        images = load_images(source, Transform(size=32, channels=3))
        if images.labels is None:
            raise DataError(f"{source.name} has no classes")
        order = np.random.RandomState(0).permutation(len(images.pixels))
        parts = (order[:-HELD_OUT], order[-HELD_OUT:])
        train, test = (LabelledImages(images.pixels[part], images.labels[part]) for part in parts)
        return cls(train, test, images.class_names)


SETS = {"fashion-mnist": Parts.fashion_mnist, "cifar10": Parts.cifar10}

VARIANTS = ("conditional", "unconditional")


@dataclass(frozen=True)
class Scores:
    """What a generator draws, by a classifier."""

    fid: float
    accuracy: float  # share of the images that show the class that was asked for
    worst: float  # the same of the class for which it is lowest


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--set", choices=SETS, help="only this set")
    parser.add_argument("--cpu-seconds", type=float, default=1200, help="of each run")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--count", type=int, default=60_000, help="most training images")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    tables = []
    for name in [options.set] if options.set else SETS:
        folder = options.results / "conditional" / name
        parts = SETS[name](options.data)
        parts = dataclasses.replace(parts, train=parts.train.first(options.count))
        classifier = trained_classifier(
            folder / "classifier.pt", parts.train, parts.test, EPOCHS[name]
        )
        metric = ClassifierFid(classifier, parts.train)
        floor = {"accuracy": classifier.accuracy, "fid": metric(image_batches(parts.test))}
        save_record(folder / "floor" / "floor.json", floor)
        print(name, floor, flush=True)
        for seed in range(options.seeds):
            for variant in VARIANTS:
                run(variant, seed, parts, metric, folder, options)
        tables.append(f"{name}:\n\n{report(folder)}")
    publish("\n\n".join(tables), "conditional", options.write)


def run(
    variant: str, seed: int, parts: Parts, metric: ClassifierFid, folder: Path, options: Any
) -> None:
    """Train and score, unless the record exists."""
    path = folder / f"{variant}-{seed}.json"
    if is_done(path, scored=options.scored, cpu_limit=options.cpu_seconds):
        return
    given = {**COMMON, "data": folder.name, "channels": parts.train.pixels.shape[3], "seed": seed}
    if variant == "conditional":
        given |= {"conditional": True, "classes": parts.class_names}
    config = TrainConfig.resolve(given)
    run_folder = path.with_suffix("")
    steps = planned_steps(run_folder, config, options.cpu_seconds)
    config = dataclasses.replace(config, decay_steps=steps)
    end, _ = train_for(
        parts.train.pixels,
        config,
        run_folder,
        steps=steps,
        cpu_seconds=0,
        labels=parts.train.labels if config.conditional else None,
    )
    generator = load_generator(run_folder, end.step, "average")
    labels = np.arange(options.scored) % len(parts.class_names)
    images = draw(generator, config, labels)
    write_whole(path.with_suffix(".png"), encode(sheet(images, len(parts.class_names))))
    found = score(images, labels, metric)
    record: Record = {
        "variant": variant,
        "seed": seed,
        "scored": options.scored,
        "cpu_limit": options.cpu_seconds,
        **dataclasses.asdict(end),
        **dataclasses.asdict(found),
        "settings": dataclasses.asdict(config),
        "machine": describe_machine("torch", "numpy"),
    }
    save_record(path, record)
    print(f"{variant}, seed {seed}: {end}, {found}", flush=True)


@torch.inference_mode()
def draw(
    generator: nn.Module, config: TrainConfig, labels: npt.NDArray[np.int64], size: int = 250
) -> Images:
    """Generate image k from seed k, for `labels[k]` if the generator is conditional."""
    found = []
    for first in range(0, len(labels), size):
        asked = labels[first : first + size]
        seeds = range(first, first + len(asked))
        inputs = [torch.from_numpy(latents_from_seeds(seeds, config.latent_dim))]
        if config.conditional:
            inputs.append(torch.from_numpy(asked))
        found.append(generator(*inputs).numpy())
    return np.concatenate(found)


def sheet(images: Images, classes: int) -> npt.NDArray[np.uint8]:
    """Return some images with a class in each row."""
    rows = images[: COLUMNS * classes].reshape(COLUMNS, classes, *images.shape[1:])
    in_rows = np.ascontiguousarray(rows.swapaxes(0, 1)).reshape(-1, *images.shape[1:])
    return grid(to_pixels(in_rows), (classes, COLUMNS))


def score(images: Images, labels: npt.NDArray[np.int64], metric: ClassifierFid) -> Scores:
    """Score images `[n, c, h, w]` that were asked for as `labels`."""
    batches = np.array_split(images, max(1, len(images) // 500))
    is_right = np.concatenate([metric.classifier.classes(batch) for batch in batches]) == labels
    of_each = [float(is_right[labels == label].mean()) for label in np.unique(labels)]
    return Scores(metric(batches), float(is_right.mean()), min(of_each))


def report(folder: Path) -> str:
    """Return the machine and the table."""
    records, floor = load_records(folder), load_records(folder / "floor")[0]
    last = records[-1]
    about = (
        f"    {last['machine']}\n    {last['scored']:,} images; the classifier recognises"
        f" {floor['accuracy']:.2%} of new images,\n    whose own FID is {floor['fid']:.2f}"
    )
    runs = {name: [each for each in records if each["variant"] == name] for name in VARIANTS}
    rows = [
        (
            name,
            len(found),
            f"{np.mean([each['step'] for each in found]):,.0f}",
            f"{np.mean([each['cpu_seconds'] for each in found]):.0f}",
            spread([each["fid"] for each in found], ".1f"),
            spread([100 * each["accuracy"] for each in found], ".1f"),
            spread([100 * each["worst"] for each in found], ".1f"),
        )
        for name, found in runs.items()
        if found
    ]
    heads = ("", "runs", "steps", "CPU seconds", "FID", "of the class asked for, %",
             "in the worst class, %")  # fmt: skip
    return f"{about}\n\n{table(heads, rows)}"


if __name__ == "__main__":
    main()
