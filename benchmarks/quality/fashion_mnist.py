"""Recipes on Fashion-MNIST, at equal CPU time and at an equal number of images.

    python -m benchmarks.quality.fashion_mnist RESULTS [--data ../shared/data/fashion-mnist]
        [--seeds 3] [--only "wgan-gp, 2e-4"] [--minutes 4] [--images 320000]
        [--write docs/quality.md]

FID here is the Frechet distance in the features of a classifier that this script trains on the same
data, since Inception was trained on colour photographs; it compares only with the other rows. An
interrupted run continues. Time is CPU time on one thread.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
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
from benchmarks.quality.image_runs import Milestone, draw, load_generator, train_for
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
from wgan.export.config import PRECISIONS, ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.images import Images, Pixels, to_images
from wgan.runs import Run
from wgan.runtime import Generator
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig

SCORED = 10_000
"""Generated images per score."""

EXPORTED = "wgan-gp, 2e-4"
"""The variant whose exports are scored too."""

COMMON: Mapping[str, Any] = MappingProxyType(
    {
        "data": "fashion-mnist",
        "channels": 1,
        "width": 16,
        "latent_dim": 64,
        "checkpoint_every": 250,
        "preview_every": 500,
        "log_every": 50,
    }
)
"""Settings of all variants: narrow enough that one core trains one in minutes."""

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "article": {"recipe": "article"},
        "wgan-gp, 1e-4": {"recipe": "wgan-gp", "learning_rate": 1e-4},
        "wgan-gp, 2e-4": {"recipe": "wgan-gp", "learning_rate": 2e-4},
        "wgan-gp, 2e-4, gp-every 5": {"recipe": "wgan-gp", "learning_rate": 2e-4, "gp_every": 5},
        "wgan-gp, 2e-4, bf16": {
            "recipe": "wgan-gp",
            "learning_rate": 2e-4,
            "precision": "bf16",
        },
        "wgan-clip": {"recipe": "wgan-clip"},
        "resnet": {"recipe": "resnet"},
    }
)


def settings(variant: str, seed: int) -> TrainConfig:
    """Return the settings of a variant."""
    return TrainConfig.resolve({**COMMON, **VARIANTS[variant], "seed": seed})


def steps_for(images: int, config: TrainConfig) -> int:
    """Return the steps in which the critic sees `images` real images, counting repeats."""
    return round(images / (config.batch_size * config.n_critic))


def run(
    variant: str, seed: int, pixels: Pixels, metric: ClassifierFid, folder: Path, options: Any
) -> None:
    """Train and score, unless the record exists."""
    path = folder / f"{re.sub(', | ', '-', variant)}-{seed}.json"
    if is_done(path, scored=options.scored, shown=options.images, minutes=options.minutes):
        return
    config = settings(variant, seed)
    run_folder = path.with_suffix("")
    by_images, by_time = train_for(
        pixels,
        config,
        run_folder,
        steps=steps_for(options.images, config),
        cpu_seconds=60 * options.minutes,
    )
    record: Record = {
        "variant": variant,
        "seed": seed,
        "scored": options.scored,
        "shown": options.images,
        "minutes": options.minutes,
        "images": score(run_folder, by_images, metric, options.scored),
        "time": score(run_folder, by_time, metric, options.scored),
        "settings": dataclasses.asdict(config),
        "machine": describe_machine("torch", "onnxruntime", "numpy"),
    }
    if variant == EXPORTED and seed == 0:
        record["exports"] = score_exports(run_folder, by_time.step, metric, options.scored)
    save_record(path, record)
    print(f"{variant}, seed {seed}: {record['images']}, {record['time']}", flush=True)


def score(run_folder: Path, milestone: Milestone, metric: ClassifierFid, n: int) -> Record:
    """Return the cost of a checkpoint and the FID of its EMA and of its generator."""
    found = {}
    for which in ("average", "generator"):
        generator = load_generator(run_folder, milestone.step, which)
        found[which] = metric(draw(generator, COMMON["latent_dim"], n))
    return {**dataclasses.asdict(milestone), **found}


def score_exports(
    run_folder: Path, step: int, metric: ClassifierFid, n: int
) -> Mapping[str, Record]:
    """Export a checkpoint in each precision; return the FID and the size of each file."""
    checkpoint = Checkpoint.load(Run(run_folder).checkpoint(step))
    found = {}
    for precision in PRECISIONS:
        config = ExportConfig(precision=precision)
        file = run_folder / config.filename("onnx")
        export_checkpoint(checkpoint, config, file)
        found[precision] = {"fid": metric(draw_file(file, n)), "bytes": file.stat().st_size}
    return found


def draw_file(file: Path, n: int) -> Iterator[Images]:
    """Yield the images of seeds 0 to n - 1 from an exported file, on the CPU."""
    with Generator(file, device="cpu", threads=1) as generator:
        for pixels in generator.stream(range(n)):
            yield to_images(pixels)


def report(folder: Path) -> str:
    """Return the machine and the tables."""
    records = load_records(folder)
    floor = load_records(folder / "floor")[0]
    last = records[-1]
    about = (
        f"    {last['machine']}\n    {last['scored']:,} images; the classifier recognises"
        f" {floor['accuracy']:.2%} of the test\n    images, whose own FID is"
        f" {floor['fid']:.2f}"
    )
    return "\n\n".join(
        [
            about,
            f"After the critic has seen {last['shown']:,} real images:",
            _recipes(records, "images"),
            f"After {last['minutes']:g} CPU minutes:",
            _recipes(records, "time"),
            *(_exports(record) for record in records if "exports" in record),
        ]
    )


def _recipes(records: Sequence[Record], at: str) -> str:
    """Return a row for each variant, at a milestone."""
    rows = []
    for variant in VARIANTS:
        runs = [record[at] for record in records if record["variant"] == variant]
        if runs:
            rows.append(
                (
                    variant,
                    len(runs),
                    f"{np.mean([run['step'] for run in runs]):,.0f}",
                    f"{np.mean([run['cpu_seconds'] for run in runs]) / 60:.1f}",
                    spread([run["average"] for run in runs], ".1f"),
                    spread([run["generator"] for run in runs], ".1f"),
                )
            )
    return table(("", "runs", "steps", "CPU minutes", "FID, EMA", "FID, without"), rows)


def _exports(record: Record) -> str:
    base = record["time"]["average"]
    rows = [("checkpoint, PyTorch", f"{base:.3f}", "", "")]
    rows += [
        (f"ONNX, {precision}", f"{each['fid']:.3f}", f"{each['fid'] - base:+.3f}",
         f"{each['bytes'] / 1e6:.2f}")
        for precision, each in record["exports"].items()
    ]  # fmt: skip
    heads = (f"{record['variant']}, seed {record['seed']}", "FID", "more than PyTorch", "MB")
    return table(heads, rows)


def main() -> None:
    """Run what is missing; print and write the tables."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fashion-mnist"))
    parser.add_argument("--only", choices=VARIANTS, help="only this variant")
    parser.add_argument("--minutes", type=float, default=4, help="CPU minutes of each run")
    parser.add_argument(
        "--images", type=int, default=320_000, help="real images that the critic sees"
    )
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--first", type=int, default=60_000, help="training images")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    folder = options.results / "fashion-mnist"
    train = LabelledImages.load(options.data, "train").first(options.first)
    test = LabelledImages.load(options.data, "test")
    classifier = trained_classifier(folder / "classifier.pt", train, test)
    metric = ClassifierFid(classifier, train)
    floor = {"accuracy": classifier.accuracy, "fid": metric(image_batches(test))}
    save_record(folder / "floor" / "floor.json", floor)
    print(floor, flush=True)
    for seed in range(options.seeds):
        for variant in [options.only] if options.only else VARIANTS:
            run(variant, seed, train.pixels, metric, folder, options)
    publish(report(folder), "fashion_mnist", options.write)


if __name__ == "__main__":
    main()
