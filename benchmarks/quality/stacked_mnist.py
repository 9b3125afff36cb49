"""How many of 1,000 modes a run finds: three random digits of MNIST as the colours of an image.

    python -m benchmarks.quality.stacked_mnist RESULTS [--data ../shared/data/mnist] [--seeds 3]
        [--steps 8000] [--write docs/quality.md]

26,000 samples, as VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN count them: a
classifier names the digit of each colour, the three digits are the mode. A run goes on where it
was killed. The time is the process's own, on one thread.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.classifier import Classifier, trained_classifier
from benchmarks.quality.image_runs import Which, draw, load_generator, train_for
from benchmarks.quality.labelled import CLASSES, Labelled
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
from wgan.images import Images, Pixels, to_images
from wgan.training.config import TrainConfig

SCORED = 26_000
"""Samples that are drawn to score a generator."""

MODES = CLASSES**3

SETTINGS = TrainConfig(
    data="stacked-mnist",
    width=16,
    latent_dim=64,
    n_critic=2,
    learning_rate=1e-3,
    checkpoint_every=500,
    preview_every=500,
    log_every=50,
)


@dataclass(frozen=True)
class Coverage:
    """Which modes were found, and how evenly."""

    modes: int  # of 1,000: those with at least one sample
    kl: float  # of the samples' modes from uniform ones, in nats


def stack(digits: Pixels, seed: int) -> Pixels:
    """Each digit once in each colour, in random company: `[n, 32, 32, 1]` -> `[n, 32, 32, 3]`."""
    random = np.random.RandomState(seed)
    colours = [digits[random.permutation(len(digits)), ..., 0] for _ in range(3)]
    return np.stack(colours, axis=3)


def modes_of(images: Images, classifier: Classifier) -> npt.NDArray[np.int64]:
    """The mode of each image, 0 to 999: `[n, 3, 32, 32]` -> `[n]`."""
    # (n, 3, h, w) -> (n * 3, 1, h, w): each colour is a digit of its own.
    digits = classifier.classes(np.ascontiguousarray(images.reshape(-1, 1, *images.shape[2:])))
    places = CLASSES ** np.arange(2, -1, -1)  # 100, 10, 1
    modes: npt.NDArray[np.int64] = digits.reshape(-1, 3) @ places
    return modes


def coverage(modes: npt.NDArray[np.int64]) -> Coverage:
    """Count modes, and their divergence from the uniform distribution: `sum p log(p / q)`."""
    counts = np.bincount(modes, minlength=MODES)
    shares = counts[counts > 0] / counts.sum()
    return Coverage(len(shares), float((shares * np.log(shares * MODES)).sum()))


def measure(folder: Path, step: int, which: Which, classifier: Classifier, n: int) -> Coverage:
    """Draw and count."""
    generator = load_generator(folder, step, which)
    drawn = draw(generator, SETTINGS.latent_dim, n)
    return coverage(np.concatenate([modes_of(images, classifier) for images in drawn]))


def measure_real(pixels: Pixels, classifier: Classifier) -> Coverage:
    """Count what a run learns from."""
    parts = np.array_split(pixels, max(1, len(pixels) // 500))
    return coverage(np.concatenate([modes_of(to_images(part), classifier) for part in parts]))


def run(
    seed: int, steps: int, digits: Pixels, classifier: Classifier, folder: Path, n: int
) -> None:
    """Train and count, unless the record is there."""
    path = folder / f"seed-{seed}.json"
    if is_done(path, step=steps, scored=n):
        return
    config = dataclasses.replace(SETTINGS, seed=seed, decay_steps=steps)
    place = folder / f"seed-{seed}"
    pixels = stack(digits, seed)
    end, _ = train_for(pixels, config, place, steps=steps, cpu_seconds=0)
    found = {
        "average": measure(place, end.step, "average", classifier, n),
        "generator": measure(place, end.step, "generator", classifier, n),
        "real": measure_real(pixels[:n], classifier),
    }
    record = {
        "seed": seed,
        "step": end.step,
        "cpu_seconds": end.cpu_seconds,
        "scored": n,
        "accuracy": classifier.accuracy,
        **{name: dataclasses.asdict(each) for name, each in found.items()},
        "settings": dataclasses.asdict(config),
        "machine": describe_machine("torch", "numpy"),
    }
    save_record(path, record)
    print(f"seed {seed}: {end}, {found}", flush=True)


NAMES = {
    "average": "wgan, EMA",
    "generator": "wgan, without the EMA",
    "real": "what they learn from",
}

PUBLISHED = (
    ("DCGAN (PacGAN's table 2)", "99", ""),
    ("VEEGAN (the same)", "150", ""),
    ("PacDCGAN2 (the same)", "1000", "0.06"),
)


def report(records: Sequence[Record]) -> str:
    """The settings, the machine and the table."""
    last = records[-1]
    rows = []
    for which, name in NAMES.items():
        minutes = [record["cpu_seconds"] / 60 for record in records]
        rows.append(
            (
                f"{name}, {len(records)} {'run' if len(records) == 1 else 'runs'}",
                spread([record[which]["modes"] for record in records], ".0f"),
                spread([record[which]["kl"] for record in records], ".3f"),
                "" if which == "real" else spread(minutes, ".0f"),
            )
        )
    rows += [(*each, "") for each in PUBLISHED]
    heads = ("", "modes of 1,000", "KL to uniform, nats", "CPU minutes")
    return (
        f"    {last['machine']}\n    {last['step']:,} steps, {last['scored']:,} samples; the"
        f" classifier names {last['accuracy']:.2%} of MNIST's test digits\n\n{table(heads, rows)}"
    )


def main() -> None:
    """Run what is missing, print the table, and write it where asked."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--scored", type=int, default=SCORED, help="samples that are counted")
    parser.add_argument("--digits", type=int, default=60_000, help="of MNIST, to learn from")
    options = parser.parse_args()
    torch.set_num_threads(1)  # CPU seconds are then seconds of one core
    folder = options.results / "stacked-mnist"
    train = Labelled.load(options.data, "train").first(options.digits)
    test = Labelled.load(options.data, "test")
    classifier = trained_classifier(folder / "classifier.pt", train, test)
    print(f"the classifier names {classifier.accuracy:.2%} of the test digits", flush=True)
    for seed in range(options.seeds):
        run(seed, options.steps, train.pixels, classifier, folder, options.scored)
    text = report(load_records(folder))
    print(text)
    if options.write:
        write_block(options.write, "stacked-mnist", text)


if __name__ == "__main__":
    main()
