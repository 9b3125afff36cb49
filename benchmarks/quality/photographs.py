"""Photographs and emoji on a CPU: recipes at equal time, with the distance over time.

    python -m benchmarks.quality.photographs RESULTS [--data ../shared/data] [--only cifar10]
        [--recipe tuned] [--seeds 1] [--cpu-minutes 20] [--threads 1] [--write docs/quality.md]
        [--curves docs/images/quality.png]

A few measured steps decide how many fit into the CPU time, which is that of all threads: other
programs may run meanwhile. An interrupted run continues. The distance is Frechet's in the features
of an EfficientNet-Lite0, FD-EfficientNet-Lite0, which compares with nothing but itself; it is
measured by `wgan eval`.
"""

import dataclasses
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.quality.image_runs import load_milestones, planned_steps, train_for
from benchmarks.quality.records import (
    Record,
    arguments,
    is_done,
    load_records,
    publish,
    save_record,
    table,
)
from wgan.files import write_whole
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset, Transform, load_data, open_data

FEATURES = Path("features") / "efficientnet-lite0-128.onnx"

SCORED = 5000
"""Generated images per measurement, and most real ones."""

MARKS = (5, 10, 20, 30, 40, 60, 120, 240)
"""CPU minutes of the table; two cores take half of them."""

CHECKPOINTS = 40
"""Checkpoints of a run, to choose from."""

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tuned": {},
        "wgan-gp": {},
        "r3gan": {},
        "article": {},
        "tuned, classes": {"recipe": "tuned", "conditional": True},
        "tuned, classes, augmented": {
            "recipe": "tuned",
            "conditional": True,
            "augment": "color,translation,cutout",
        },
    }
)
"""Options of each row of the table; the recipe is its name unless they name one."""


@dataclass(frozen=True)
class Photographs:
    """A data set, how long to train on it, and settings that all recipes share."""

    data: Path
    cpu_minutes: float
    given: Mapping[str, int]
    recipes: Sequence[str] = ("tuned", "wgan-gp", "r3gan", "article")


SETS: Mapping[str, Photographs] = MappingProxyType(
    {
        "flowers": Photographs(
            Path("flowers") / "flowers-128.tar",
            240,
            {"size": 64, "width": 32},
            ("tuned", "article", "tuned, classes", "tuned, classes, augmented"),
        ),
        "emoji": Photographs(
            Path("emoji") / "emoji-png-128.tar", 240, {"size": 64, "width": 32}, ("tuned",)
        ),
        "cifar10": Photographs(
            Path("cifar10-jpeg") / "cifar10-train-jpeg.zip", 120, {"size": 32, "width": 32}
        ),
    }
)


def main() -> None:
    """Run what is missing; print and write the table and the curves."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=SETS, help="only this data set")
    parser.add_argument("--recipe", choices=RECIPES, help="only this recipe")
    parser.add_argument("--cpu-minutes", type=float, help="of each run, instead of the set's")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--curves", type=Path, metavar="PNG", help="draw the distances over time")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.results / "photographs"
    for seed in range(options.seeds):
        for name, photographs in SETS.items():
            for recipe in photographs.recipes:
                if options.only in (None, name) and options.recipe in (None, recipe):
                    minutes = options.cpu_minutes or photographs.cpu_minutes
                    run(name, recipe, seed, minutes, folder, options.data, options.scored)
    records = load_records(folder)
    publish(report(records), "photographs", options.write)
    if options.curves is not None:
        write_whole(options.curves, draw_curves(records))


def run(
    name: str, recipe: str, seed: int, minutes: float, folder: Path, data: Path, scored: int
) -> None:
    """Train and evaluate, unless the record exists."""
    path = folder / f"{name}-{recipe.replace(', ', '-')}-{seed}-{minutes:g}min.json"
    if is_done(path, scored=scored):
        return
    photographs, run_folder = SETS[name], path.with_suffix("").resolve()
    where = str((data / photographs.data).resolve())
    source = load_data(open_data(where), Transform(size=photographs.given["size"], channels=3))
    assert isinstance(source, InMemoryDataset)
    given = {**photographs.given, "data": where, "recipe": recipe, "seed": seed, "channels": 3}
    given |= RECIPES[recipe]
    if "conditional" in given:
        given["classes"] = source.class_names
    config = TrainConfig.resolve(given)
    steps = planned_steps(run_folder, config, 60 * minutes)
    config = dataclasses.replace(
        config,
        checkpoint_every=max(1, steps // CHECKPOINTS),
        preview_every=max(1, steps // 10),
        # The schedules are those of a run of this length.
        decay_steps=steps if config.decay_steps is None else config.decay_steps,
    )
    labels = source.labels if config.conditional else None
    train_for(source.pixels, config, run_folder, steps=steps, cpu_seconds=0, labels=labels)
    found = measure(run_folder, data / FEATURES, scored)
    last = found[-1]
    record: Record = {
        "data": name,
        "recipe": recipe,
        "seed": seed,
        "cpu_minutes": minutes,
        "scored": scored,
        "width": photographs.given["width"],
        "measured": found,
        "steps": last["step"],
        "machine": describe_machine("torch", "onnxruntime"),
    }
    save_record(path, record)


def measure(run_folder: Path, features: Path, scored: int) -> list[Record]:
    """Evaluate the last checkpoint and those nearest to `MARKS`."""
    milestones = load_milestones(run_folder)
    end = milestones[-1].cpu_seconds / 60
    marks = [mark for mark in MARKS if mark < 0.9 * end] + [end]
    nearest = [min(milestones, key=lambda m: abs(m.cpu_seconds / 60 - mark)) for mark in marks]
    found = []
    for milestone in sorted(set(nearest), key=lambda m: m.step):
        is_last = milestone.step == milestones[-1].step
        metrics = "--metrics=fid,precision,recall" if is_last else "--metrics=fid"
        answer = command("eval", str(run_folder), f"--checkpoint={milestone.step}", f"-n{scored}",
                         f"--data-n={scored}", f"--features={features}", metrics,
                         "--json")  # fmt: skip
        values = json.loads(answer)["results"][0]["metrics"]
        found.append(
            {"step": milestone.step, "cpu_minutes": milestone.cpu_seconds / 60,
             **{metric: value["mean"] for metric, value in values.items()}}
        )  # fmt: skip
    return found


def command(*words: str) -> str:
    """Print and run a command of wgan; return its output."""
    print(shlex.join(["wgan", *words]), flush=True)
    program = [sys.executable, "-m", "wgan", *words]
    return subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True).stdout


def report(records: Sequence[Record]) -> str:
    """Return the machine and a table: the distance at each of `MARKS`."""
    if not records:
        return "Nothing has been measured yet."
    rows = []
    marks = [mark for mark in MARKS if any(_at(record, mark) for record in records)]
    for record in records:
        cells = [_at(record, mark) for mark in marks]
        last = record["measured"][-1]
        rows.append(
            (_name(record), *cells, f"{last['fid']:.1f}", f"{last['cpu_minutes']:.1f}",
             f"{record['steps']:,}", f"{last['precision']:.2f}", f"{last['recall']:.2f}")
        )  # fmt: skip
    heads = (
        "", *(f"after {mark} CPU min" for mark in marks),
        "at the end", "CPU minutes", "steps", "precision", "recall",
    )  # fmt: skip
    about = f"    {records[-1]['machine']}; {records[-1]['scored']:,} images"
    return f"{about}\n\n{table(heads, rows)}"


def _name(record: Record) -> str:
    return "{data}: {recipe}, width {width}".format_map(record)


def _at(record: Record, mark: float) -> str:
    """Return the distance at a time, if the run was that long."""
    near = min(record["measured"], key=lambda each: abs(each["cpu_minutes"] - mark))
    is_near = abs(math.log(max(near["cpu_minutes"], 1e-6) / mark)) < 0.15
    return f"{near['fid']:.1f}" if is_near else ""


def draw_curves(records: Sequence[Record]) -> bytes:
    """Draw the distance of each run over its minutes, one panel for each data set."""
    import io

    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(dict.fromkeys(record["data"] for record in records))
    figure = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained")
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        for record in (each for each in records if each["data"] == name):
            points = [(each["cpu_minutes"], each["fid"]) for each in record["measured"]]
            colour = f"C{list(RECIPES).index(record['recipe'])}"
            axes.plot(*zip(*points, strict=True), colour, marker=".", label=record["recipe"])
        axes.set(title=name, xlabel="CPU minutes", ylabel="FD-EfficientNet-Lite0")
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):  # 20, 50, 100 and not powers of ten
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
