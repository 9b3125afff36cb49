"""Few photographs: augmentation, classes and a trained start, at 64x64 and equal CPU time.

    python -m benchmarks.quality.few_images RESULTS [--data ../shared/data] [--only 100-augmented]
        [--seeds 1] [--cpu-minutes 10] [--write docs/quality.md]

A run learns from the first photographs of a random order of the flowers, with or without
augmentation; one learns the classes too, and one starts from a run on CIFAR-10, whose own time is
not counted. The distance is Frechet's in the features of an EfficientNet-Lite0,
FD-EfficientNet-Lite0, to all photographs. The distance to the nearest training image is that of
`wgan train`'s diagnosis: as a share of what it is between training images. Time is CPU time on one
thread; an interrupted run continues.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.image_runs import CPU, load_generator, planned_steps, train_for
from benchmarks.quality.photographs import FEATURES, measure
from benchmarks.quality.records import (
    Record,
    arguments,
    is_done,
    load_records,
    publish,
    save_record,
    table,
)
from wgan.training.config import TrainConfig
from wgan.training.data import Transform, load_images, open_source
from wgan.training.monitoring.diagnosis import novelty
from wgan.training.monitoring.previews import generate_pixels

FLOWERS = Path("flowers") / "flowers-128.tar"
CIFAR10 = Path("cifar10-jpeg") / "cifar10-train-jpeg.zip"

SETTINGS: Mapping[str, Any] = MappingProxyType({"size": 64, "width": 16, "channels": 3})

AUGMENTED = "color,translation,cutout"

CHECKPOINTS = 10
"""Checkpoints of a run."""

COMPARED = 64
"""Generated images that are compared with the training images."""


SEARCHED = 5000
"""Most training images that they are compared with: the distances are held in memory."""


@dataclass(frozen=True)
class Variant:
    """A run: what it learns from, and how."""

    label: str  # in the table
    count: int | None = None  # of the photographs; None for all
    augment: str = "none"
    conditional: bool = False
    start: bool = False  # from the run on CIFAR-10
    data: Path = FLOWERS


BEFORE = "cifar10"
"""The run from which another one starts."""

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "100": Variant("as they are", 100),
        "100-augmented": Variant("augmented", 100, AUGMENTED),
        "1000": Variant("as they are", 1000),
        "1000-augmented": Variant("augmented", 1000, AUGMENTED),
        "all": Variant("as they are"),
        "all-augmented": Variant("augmented", augment=AUGMENTED),
        "all-classes": Variant("augmented, with classes", augment=AUGMENTED, conditional=True),
        BEFORE: Variant("the run on CIFAR-10", data=CIFAR10),
        "all-started": Variant("from the run on CIFAR-10", start=True),
        "1000-started": Variant("augmented, from the run on CIFAR-10", 1000, AUGMENTED, start=True),
    }
)


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=VARIANTS, help="only this run")
    parser.add_argument("--cpu-minutes", type=float, default=10, help="of each run")
    parser.add_argument("--scored", type=int, default=5000, help="generated images")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    folder = options.results / "few_images"
    for seed in range(options.seeds):
        for name in VARIANTS:
            if options.only in (None, name):
                run(name, seed, options.cpu_minutes, folder, options.data, options.scored)
    publish(report(load_records(folder)), "few_images", options.write)


def run(name: str, seed: int, minutes: float, folder: Path, data: Path, scored: int) -> None:
    """Train and evaluate, unless the record exists."""
    path = folder / f"{name}-{seed}.json"
    if is_done(path, scored=scored, cpu_limit=minutes):
        return
    variant, run_folder = VARIANTS[name], path.with_suffix("").resolve()
    where = (data / variant.data).resolve()
    images = load_images(open_source(where), Transform(size=SETTINGS["size"], channels=3))
    chosen = np.random.RandomState(0).permutation(len(images.pixels))[: variant.count]
    given = {**SETTINGS, "data": str(where), "seed": seed, "augment": variant.augment}
    if variant.conditional:
        given |= {"conditional": True, "classes": images.class_names}
    if variant.start:
        given["start_from"] = str(run_folder.parent / f"{BEFORE}-{seed}")
    config = TrainConfig.resolve(given)
    steps = planned_steps(run_folder, config, 60 * minutes)
    config = dataclasses.replace(
        config,
        checkpoint_every=max(1, steps // CHECKPOINTS),
        preview_every=max(1, steps // CHECKPOINTS),
        decay_steps=steps,
    )
    end, _ = train_for(
        images.pixels[chosen],
        config,
        run_folder,
        steps=steps,
        cpu_seconds=0,
        labels=images.labels[chosen] if config.conditional and images.labels is not None else None,
    )
    generator = load_generator(run_folder, end.step, "average")
    drawn = generate_pixels(generator, config.latent_dim, CPU, range(COMPARED), len(config.classes))
    last = measure(run_folder, data / FEATURES, scored)[-1]
    record: Record = {
        "name": name,
        "seed": seed,
        "scored": scored,
        "cpu_limit": minutes,
        "images": len(chosen),
        "augment": variant.augment,
        **last,
        "novelty": novelty(drawn, images.pixels[chosen[:SEARCHED]]),
        "machine": describe_machine("torch", "onnxruntime"),
    }
    save_record(path, record)
    print(record, flush=True)


def report(records: Sequence[Record]) -> str:
    """Return the machine and a table."""
    if not records:
        return "Nothing has been measured yet."
    rows = [
        (
            f"{each['images']:,}",
            variant.label,
            f"{each['fid']:.1f}",
            f"{each['precision']:.2f}",
            f"{each['recall']:.2f}",
            f"{each['novelty']:.2f}",
            f"{each['step']:,}",
            f"{each['cpu_minutes']:.1f}",
        )
        for name, variant in VARIANTS.items()
        for each in records
        if each["name"] == name and variant.data == FLOWERS
    ]
    heads = ("images", "training", "FD-EfficientNet-Lite0", "precision", "recall",
             "distance to the nearest", "steps", "CPU minutes")  # fmt: skip
    last = records[-1]
    about = f"    {last['machine']}; {last['scored']:,} images; width {SETTINGS['width']}"
    return f"{about}\n\n{table(heads, rows)}"


if __name__ == "__main__":
    main()
