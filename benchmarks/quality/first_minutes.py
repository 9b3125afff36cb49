"""The first minutes: recipes on small images, at equal CPU time.

    python -m benchmarks.quality.first_minutes RESULTS [--data ../shared/data/fashion-mnist]
        [--set letters] [--seeds 3] [--only tuned] [--cpu-seconds 240] [--write docs/quality.md]

The sets are the built-in letters and digits, and Fashion-MNIST. A classifier that this script
trains on the same images names 10,000 generated ones and gives the features of the FID, which
compares only with the other rows of a set. Time is CPU time on one thread: a few measured steps
decide how many fit. An interrupted run continues.
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
from benchmarks.quality.classifier import (
    ClassifierFid,
    LabelledImages,
    image_batches,
    trained_classifier,
)
from benchmarks.quality.image_runs import draw, load_generator, planned_steps, train_for
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
from wgan.files import write_whole
from wgan.images import Images, encode, grid, to_images, to_pixels
from wgan.training.config import TrainConfig
from wgan.training.data.sources.glyphs import CHARACTERS, DEFAULT_COUNT, GlyphSource

SCORED = 10_000
"""Generated images per score."""

HELD_OUT = 2000
"""Images for the classifier's accuracy, which no network is trained on."""

CONFIDENT = 0.9
"""Probability from which an image counts as legible."""

RARE = 0.1
"""Share of a fair count from which a class counts as drawn."""

COMMON: Mapping[str, Any] = MappingProxyType(
    {"checkpoint_every": 10**6, "preview_every": 10**6, "log_every": 100}
)

SETS = ("letters", "fashion-mnist")

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tuned": {},
        "wgan-gp, the first default": {"recipe": "wgan-gp"},
        "wgan-gp, networks of tuned": {"recipe": "wgan-gp", "arch": "resize-conv"},
        "tuned, networks of wgan-gp": {"arch": "dcgan"},
        "r3gan": {"recipe": "r3gan"},
        "article": {"recipe": "article"},
    }
)


@dataclass(frozen=True)
class Scores:
    """What a generator draws, by a classifier."""

    fid: float
    legible: float  # share of the images
    classes: int  # drawn, of all
    checkerboard: float  # of the images, as a multiple of the data's


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fashion-mnist"))
    parser.add_argument("--set", choices=SETS, help="only this set")
    parser.add_argument("--only", choices=VARIANTS, help="only this variant")
    parser.add_argument("--cpu-seconds", type=float, default=240, help="of each run")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="training images")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    tables = []
    for name in [options.set] if options.set else SETS:
        folder = options.results / "first-minutes" / name
        if name == "letters":
            train, test = letters(0, options.count), letters(options.count, HELD_OUT)
        else:
            train, test = (LabelledImages.load(options.data, part) for part in ("train", "test"))
            train = train.first(3 * options.count)
        classifier = trained_classifier(folder / "classifier.pt", train, test)
        metric = ClassifierFid(classifier, train)
        floor = {"accuracy": classifier.accuracy, "fid": metric(image_batches(test))}
        save_record(folder / "floor" / "floor.json", floor)
        print(name, floor, flush=True)
        for seed in range(options.seeds):
            for variant in [options.only] if options.only else VARIANTS:
                run(variant, VARIANTS[variant], seed, train, metric, folder, options)
        tables.append(f"{name}:\n\n{report(folder)}")
    publish("\n\n".join(tables), "first_minutes", options.write)


def letters(first: int, count: int, size: int = 32) -> LabelledImages:
    """Draw letters and digits `first` to `first + count - 1`."""
    source = GlyphSource(first + count, "letters")
    indices = range(first, first + count)
    pixels = np.stack([np.asarray(source.image(index, size)) for index in indices])
    names = [CHARACTERS.index(source.character(index)) for index in indices]
    return LabelledImages(pixels, np.array(names))


def run(
    variant: str,
    changes: Mapping[str, Any],
    seed: int,
    data: LabelledImages,
    metric: ClassifierFid,
    folder: Path,
    options: Any,
) -> None:
    """Train with `changes` of the defaults and score, unless the record exists."""
    path = folder / f"{variant.replace(', ', '-').replace(' ', '-')}-{seed}.json"
    if is_done(path, scored=options.scored, cpu_limit=options.cpu_seconds):
        return
    given = {"data": folder.name, "channels": data.pixels.shape[3], "seed": seed}
    config = TrainConfig.resolve({**COMMON, **changes, **given})
    run_folder = path.with_suffix("")
    steps = planned_steps(run_folder, config, options.cpu_seconds)
    if config.decay_steps is None:  # over all steps
        config = dataclasses.replace(config, decay_steps=steps)
    end, _ = train_for(data.pixels, config, run_folder, steps=steps, cpu_seconds=0)
    generator = load_generator(run_folder, end.step, "average")
    images = np.concatenate(list(draw(generator, config.latent_dim, options.scored)))
    write_whole(path.with_suffix(".png"), encode(grid(to_pixels(images[:64]))))
    found = score(images, data, metric)
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


def score(images: Images, data: LabelledImages, metric: ClassifierFid) -> Scores:
    """Score images `[n, c, h, w]` against the training data."""
    batches = np.array_split(images, max(1, len(images) // 500))
    certain = np.concatenate([metric.classifier.probabilities(batch) for batch in batches])
    classes = certain.shape[1]
    counts = np.bincount(certain.argmax(axis=1), minlength=classes)
    some = to_images(data.pixels[: len(images)])
    return Scores(
        metric(batches),
        float((certain.max(axis=1) > CONFIDENT).mean()),
        int((counts >= RARE * len(images) / classes).sum()),
        checkerboard(images) / checkerboard(some),
    )


def checkerboard(images: Images) -> float:
    """Root mean square of images `[n, c, h, w]` at the highest frequency of both axes."""
    rows = images[..., 1:, :] - images[..., :-1, :]
    both = rows[..., 1:] - rows[..., :-1]
    return float(np.sqrt(np.square(both / 4).mean()))


def report(folder: Path) -> str:
    """Return the machine and the table."""
    records, floor = load_records(folder), load_records(folder / "floor")[0]
    last = records[-1]
    about = (
        f"    {last['machine']}\n    {last['scored']:,} images; the classifier recognises"
        f" {floor['accuracy']:.2%} of new images,\n    whose own FID is {floor['fid']:.2f}"
    )
    runs = {name: [each for each in records if each["variant"] == name] for name in VARIANTS}
    rows = [row(name, found) for name, found in runs.items() if found]
    heads = ("", "runs", "steps", "CPU seconds", "FID", "legible, %", "classes",
             "checkerboard, times the data's")  # fmt: skip
    return f"{about}\n\n{table(heads, rows)}"


def row(variant: str, runs: Sequence[Record]) -> tuple[object, ...]:
    """Return the row of a variant."""
    return (
        variant,
        len(runs),
        f"{np.mean([run['step'] for run in runs]):,.0f}",
        f"{np.mean([run['cpu_seconds'] for run in runs]):.0f}",
        spread([run["fid"] for run in runs], ".1f"),
        spread([100 * run["legible"] for run in runs], ".0f"),
        spread([run["classes"] for run in runs], ".0f"),
        spread([run["checkerboard"] for run in runs], ".2f"),
    )


if __name__ == "__main__":
    main()
