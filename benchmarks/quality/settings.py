"""The default recipe with one setting changed at a time, on the letters, at equal CPU time.

    python -m benchmarks.quality.settings RESULTS [--seeds 1] [--only "beta2 0.99"]
        [--cpu-seconds 90] [--write docs/quality.md]

It trains and scores as `benchmarks.quality.first_minutes` does. The default has three seeds at
least, which say how much of a difference is chance.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from benchmarks.quality.classifier import ClassifierFid, trained_classifier
from benchmarks.quality.first_minutes import HELD_OUT, SCORED, letters, run
from benchmarks.quality.records import Record, arguments, load_records, publish, spread, table
from wgan.training.data.sources.glyphs import DEFAULT_COUNT

DEFAULT = "the default"

CHANGES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        DEFAULT: {},
        "2 critic updates a step": {"n_critic": 2},
        "learning rate 2e-3": {"learning_rate": 2e-3},
        "learning rate 8e-3": {"learning_rate": 8e-3},
        "learning rate constant": {"decay_steps": 0},
        "beta2 0.99": {"beta2": 0.99},
        "batches of 32": {"batch_size": 32},
        "batches of 128": {"batch_size": 128},
        "penalty of weight 1": {"gp_weight": 1.0},
        "penalty on one side only": {"constraint": "one-sided"},
        "transposed convolutions (dcgan)": {"arch": "dcgan"},
        "EMA with a half-life of 20,000 images": {"ema_half_life": 20_000},
        "precision tf32": {"precision": "tf32"},
        "width 24": {"width": 24},
    }
)


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=CHANGES, help="only this setting")
    parser.add_argument("--cpu-seconds", type=float, default=90, help="of each run")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--count", type=int, default=DEFAULT_COUNT, help="training images")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so that CPU time is the time of one core
    folder = options.results / "settings"
    train, test = letters(0, options.count), letters(options.count, HELD_OUT)
    classifier = trained_classifier(folder / "classifier.pt", train, test)
    metric = ClassifierFid(classifier, train)
    for change in [options.only] if options.only else CHANGES:
        for seed in range(max(3, options.seeds) if change == DEFAULT else options.seeds):
            run(change, CHANGES[change], seed, train, metric, folder, options)
    publish(report(load_records(folder)), "settings", options.write)


def report(records: Sequence[Record]) -> str:
    """Return the machine and the table, the best FID first."""
    runs = {name: [r for r in records if r["variant"] == name] for name in CHANGES}
    found = {name: several for name, several in runs.items() if several}
    means = {name: np.mean([r["fid"] for r in several]) for name, several in found.items()}
    rows = [
        (
            name,
            len(found[name]),
            f"{np.mean([record['step'] for record in found[name]]):,.0f}",
            f"{np.mean([record['cpu_seconds'] for record in found[name]]):.0f}",
            spread([record["fid"] for record in found[name]], ".1f"),
            spread([100 * record["legible"] for record in found[name]], ".0f"),
        )
        for name in sorted(found, key=means.__getitem__)
    ]
    heads = ("", "runs", "steps", "CPU seconds", "FID", "legible, %")
    last = records[-1]
    return f"    {last['machine']}\n    {last['scored']:,} images\n\n{table(heads, rows)}"


if __name__ == "__main__":
    main()
