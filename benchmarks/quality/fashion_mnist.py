"""The recipes on Fashion-MNIST, at the same CPU time and at the same number of images.

    python -m benchmarks.quality.fashion_mnist RESULTS [--data ../shared/data/fashion-mnist]
        [--seeds 3] [--only "wgan-gp, 2e-4"] [--minutes 4] [--images 320000]
        [--write docs/quality.md]

FID here is the Frechet distance in the last features of a classifier that this script trains on
the same data: Inception, which knows coloured photographs, would tell less of grey shirts. It
compares with nothing but the other rows. A run goes on where it was killed. The time is the
process's own, on one thread.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.classifier import Classifier, image_parts, trained_classifier
from benchmarks.quality.image_runs import Milestone, draw, load_generator, train_for
from benchmarks.quality.labelled import Labelled
from benchmarks.quality.records import (
    Record,
    arguments,
    is_done,
    load_records,
    save_record,
    spread,
    table,
    write_block,
)
from wgan.evaluation.metrics import fid
from wgan.evaluation.moments import Moments
from wgan.export.config import PRECISIONS, ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.images import Images, Pixels, to_images, to_pixels
from wgan.runs import Run
from wgan.runtime import Generator
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig

SCORED = 10_000
"""Images that are drawn to score a generator."""

EXPORTED = "wgan-gp, 2e-4"
"""The variant whose exports are scored beside its checkpoint."""

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
"""What all variants share: so narrow that a core trains one in minutes."""

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


class Ruler:
    """Measures generated images against the real ones."""

    def __init__(self, classifier: Classifier, real: Labelled) -> None:
        self._classifier = classifier
        self._real = self._moments(image_parts(real))

    def fid(self, images: Iterable[Images]) -> float:
        """The Frechet distance of images, as a viewer gets them: rounded to 256 steps."""
        rounded = (to_images(to_pixels(some)) for some in images)
        return fid(self._real, self._moments(rounded))

    def _moments(self, images: Iterable[Images]) -> Moments:
        # A batch at a time would do as well; the vectors of 60,000 take 30 MB.
        return Moments.of(np.concatenate([self._classifier.features(some) for some in images]))


def settings(variant: str, seed: int) -> TrainConfig:
    """A variant's settings."""
    return TrainConfig.resolve({**COMMON, **VARIANTS[variant], "seed": seed})


def steps_for(images: int, config: TrainConfig) -> int:
    """The steps in which the critic is shown so many real images, repeated ones counted."""
    return round(images / (config.batch_size * config.n_critic))


def run(variant: str, seed: int, pixels: Pixels, ruler: Ruler, folder: Path, options: Any) -> None:
    """Train and measure unless the record is there."""
    path = folder / f"{re.sub(', | ', '-', variant)}-{seed}.json"
    if is_done(path, scored=options.scored, shown=options.images, minutes=options.minutes):
        return
    config = settings(variant, seed)
    place = path.with_suffix("")
    by_images, by_time = train_for(
        pixels,
        config,
        place,
        steps=steps_for(options.images, config),
        cpu_seconds=60 * options.minutes,
    )
    record: Record = {
        "variant": variant,
        "seed": seed,
        "scored": options.scored,
        "shown": options.images,
        "minutes": options.minutes,
        "images": score(place, by_images, ruler, options.scored),
        "time": score(place, by_time, ruler, options.scored),
        "settings": dataclasses.asdict(config),
        "machine": describe_machine("torch", "onnxruntime", "numpy"),
    }
    if variant == EXPORTED and seed == 0:
        record["exports"] = score_exports(place, by_time.step, ruler, options.scored)
    save_record(path, record)
    print(f"{variant}, seed {seed}: {record['images']}, {record['time']}", flush=True)


def score(place: Path, milestone: Milestone, ruler: Ruler, n: int) -> Record:
    """What a checkpoint took, and the FID of its EMA and of its generator as it is."""
    found = {}
    for which in ("average", "generator"):
        generator = load_generator(place, milestone.step, which)
        found[which] = ruler.fid(draw(generator, COMMON["latent_dim"], n))
    return {**dataclasses.asdict(milestone), **found}


def score_exports(place: Path, step: int, ruler: Ruler, n: int) -> Mapping[str, Record]:
    """Export a checkpoint in each precision; the FID and the size of each file, same seeds."""
    checkpoint = Checkpoint.load(Run(place).checkpoint(step))
    found = {}
    for precision in PRECISIONS:
        config = ExportConfig(precision=precision)
        file = place / config.filename("onnx")
        export_checkpoint(checkpoint, config, file)
        found[precision] = {"fid": ruler.fid(draw_file(file, n)), "bytes": file.stat().st_size}
    return found


def draw_file(file: Path, n: int) -> Iterator[Images]:
    """The images of seeds 0 to n - 1 from an exported file, on the CPU."""
    with Generator(file, device="cpu", threads=1) as generator:
        for pixels in generator.stream(range(n)):
            yield to_images(pixels)


def report(folder: Path) -> str:
    """The machine and the tables."""
    records = load_records(folder)
    floor = load_records(folder / "floor")[0]
    last = records[-1]
    about = (
        f"    {last['machine']}\n    {last['scored']:,} images; the classifier names"
        f" {floor['accuracy']:.2%} of the test\n    images, which themselves have a FID of"
        f" {floor['fid']:.2f}"
    )
    return "\n\n".join(
        [
            about,
            f"When the critic was shown {last['shown']:,} real images:",
            _recipes(records, "images"),
            f"After {last['minutes']:g} CPU minutes:",
            _recipes(records, "time"),
            *(_exports(record) for record in records if "exports" in record),
        ]
    )


def _recipes(records: Sequence[Record], at: str) -> str:
    """A row for each variant, at a milestone."""
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
    """Run what is missing, print the tables, and write them where asked."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fashion-mnist"))
    parser.add_argument("--only", choices=VARIANTS, help="one variant alone")
    parser.add_argument("--minutes", type=float, default=4, help="CPU minutes of each run")
    parser.add_argument("--images", type=int, default=320_000, help="shown to the critic")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--first", type=int, default=60_000, help="images to learn from")
    options = parser.parse_args()
    torch.set_num_threads(1)  # CPU seconds are then seconds of one core
    folder = options.results / "fashion-mnist"
    train = Labelled.load(options.data, "train").first(options.first)
    test = Labelled.load(options.data, "test")
    classifier = trained_classifier(folder / "classifier.pt", train, test)
    ruler = Ruler(classifier, train)
    floor = {"accuracy": classifier.accuracy, "fid": ruler.fid(image_parts(test))}
    save_record(folder / "floor" / "floor.json", floor)
    print(floor, flush=True)
    for seed in range(options.seeds):
        for variant in [options.only] if options.only else VARIANTS:
            run(variant, seed, train.pixels, ruler, folder, options)
    text = report(folder)
    print(text)
    if options.write:
        write_block(options.write, "fashion-mnist", text)


if __name__ == "__main__":
    main()
