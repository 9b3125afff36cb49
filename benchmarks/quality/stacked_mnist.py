"""Coverage of 1,000 modes: three random digits of MNIST as the colours of an image.

    python -m benchmarks.quality.stacked_mnist RESULTS [--data ../shared/data/mnist] [--seeds 3]
        [--steps 8000] [--write docs/quality.md]

26,000 images, as in VEEGAN (Srivastava et al. 2017, arXiv:1705.07761) and PacGAN: a classifier
predicts the digit of each colour, the three digits are the mode. An interrupted run continues. Time
is CPU time on one thread.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.classifier import (
    CLASSES,
    Classifier,
    LabelledImages,
    trained_classifier,
)
from benchmarks.quality.image_runs import Which, draw, load_generator, train_for
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
from wgan.images import Images, Pixels, to_images
from wgan.training.config import TrainConfig

SCORED = 26_000
"""Generated images per score."""

MODES = CLASSES**3

SETTINGS = TrainConfig(
    data="stacked-mnist",
    arch="dcgan",
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
    """Modes found, and how evenly."""

    modes: int  # of 1,000, with at least one image
    kl: float  # divergence of the modes from uniform ones, in nats


def stack(digits: Pixels, seed: int) -> Pixels:
    """Stack random digits, each once per colour: `[n, 32, 32, 1]` -> `[n, 32, 32, 3]`."""
    random = np.random.RandomState(seed)
    colours = [digits[random.permutation(len(digits)), ..., 0] for _ in range(3)]
    return np.stack(colours, axis=3)


def modes_of(images: Images, classifier: Classifier) -> npt.NDArray[np.int64]:
    """Predict the mode of each image, 0 to 999: `[n, 3, 32, 32]` -> `[n]`."""
    # (n, 3, h, w) -> (n * 3, 1, h, w)
    digits = classifier.classes(np.ascontiguousarray(images.reshape(-1, 1, *images.shape[2:])))
    powers = CLASSES ** np.arange(2, -1, -1)  # 100, 10, 1
    modes: npt.NDArray[np.int64] = digits.reshape(-1, 3) @ powers
    return modes


def coverage(modes: npt.NDArray[np.int64]) -> Coverage:
    """Count modes and compute their divergence from uniform ones, `sum p log(p / q)`."""
    counts = np.bincount(modes, minlength=MODES)
    shares = counts[counts > 0] / counts.sum()
    return Coverage(len(shares), float((shares * np.log(shares * MODES)).sum()))


def measure(folder: Path, step: int, which: Which, classifier: Classifier, n: int) -> Coverage:
    """Score a checkpoint."""
    generator = load_generator(folder, step, which)
    drawn = draw(generator, SETTINGS.latent_dim, n)
    return coverage(np.concatenate([modes_of(images, classifier) for images in drawn]))


def measure_real(pixels: Pixels, classifier: Classifier) -> Coverage:
    """Score the training images."""
    parts = np.array_split(pixels, max(1, len(pixels) // 500))
    return coverage(np.concatenate([modes_of(to_images(part), classifier) for part in parts]))


def run(
    seed: int, steps: int, digits: Pixels, classifier: Classifier, folder: Path, n: int
) -> None:
    """Train and score, unless the record exists."""
    path = folder / f"seed-{seed}.json"
    if is_done(path, step=steps, scored=n):
        return
    config = dataclasses.replace(SETTINGS, seed=seed, decay_steps=steps)
    run_folder = folder / f"seed-{seed}"
    pixels = stack(digits, seed)
    end, _ = train_for(pixels, config, run_folder, steps=steps, cpu_seconds=0)
    found = {
        "average": measure(run_folder, end.step, "average", classifier, n),
        "generator": measure(run_folder, end.step, "generator", classifier, n),
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
    "real": "training images",
}

PUBLISHED = (
    ("DCGAN (PacGAN's table 2)", "99", ""),
    ("VEEGAN (the same)", "150", ""),
    ("PacDCGAN2 (the same)", "1000", "0.06"),
)


def report(records: Sequence[Record]) -> str:
    """Return the machine, the settings and the table."""
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
        f"    {last['machine']}\n    {last['step']:,} steps, {last['scored']:,} images; the"
        f" classifier recognises {last['accuracy']:.2%} of MNIST's test digits\n\n"
        f"{table(heads, rows)}"
    )


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/mnist"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--digits", type=int, default=60_000, help="training images of MNIST")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    folder = options.results / "stacked-mnist"
    train = LabelledImages.load(options.data, "train").first(options.digits)
    test = LabelledImages.load(options.data, "test")
    classifier = trained_classifier(folder / "classifier.pt", train, test)
    print(f"the classifier recognises {classifier.accuracy:.2%} of the test digits", flush=True)
    for seed in range(options.seeds):
        run(seed, options.steps, train.pixels, classifier, folder, options.scored)
    publish(report(load_records(folder)), "stacked_mnist", options.write)


if __name__ == "__main__":
    main()
