"""Photographs and emoji on a CPU: recipes at equal time, with the distance over time.

    python -m benchmarks.quality.photographs RESULTS [--data ../shared/data] [--only cifar10]
        [--recipe tuned] [--seeds 1] [--write docs/quality.md] [--curves docs/images/quality.png]

It runs and prints `wgan train --minutes` and `wgan eval`; an interrupted run continues.
The distance is Frechet's in the features of an EfficientNet-Lite0, FD-EfficientNet-Lite0, which
compares with nothing but itself. Time is that of the training on this machine's cores, without what
another program took: use it alone.
"""

import bisect
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.machine import describe_machine
from benchmarks.quality.records import Record, arguments, load_records, publish, save_record, table
from wgan.files import write_whole
from wgan.runs import Run

FEATURES = Path("features") / "efficientnet-lite0-128.onnx"

SCORED = 10_000
"""Generated images per measurement."""

MARKS = (10, 30, 60, 120)
"""Minutes of the table."""

RECIPES = ("tuned", "wgan-gp", "r3gan", "article")


@dataclass(frozen=True)
class Photographs:
    """A data set, how long to train on it, and settings that all recipes share."""

    data: Path
    minutes: float
    given: Mapping[str, int]
    recipes: Sequence[str] = RECIPES


SETS: Mapping[str, Photographs] = MappingProxyType(
    {
        "flowers": Photographs(
            Path("flowers") / "flowers-128.tar",
            120,
            {"size": 64, "width": 32},
            ("tuned", "article"),
        ),
        "emoji": Photographs(
            Path("emoji") / "emoji-png-128.tar", 120, {"size": 64, "width": 32}, ("tuned",)
        ),
        "cifar10": Photographs(
            Path("cifar10-jpeg") / "cifar10-train-jpeg.zip", 60, {"size": 32, "width": 32}
        ),
    }
)


def main() -> None:
    """Run what is missing; print and write the table and the curves."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=SETS, help="only this data set")
    parser.add_argument("--recipe", choices=RECIPES, help="only this recipe")
    parser.add_argument("--minutes", type=float, help="of each run, instead of the set's")
    parser.add_argument("--scored", type=int, default=SCORED, help="generated images")
    parser.add_argument("--curves", type=Path, metavar="PNG", help="draw the distances over time")
    options = parser.parse_args()
    folder = options.results / "photographs"
    for seed in range(options.seeds):
        for name, photographs in SETS.items():
            for recipe in photographs.recipes:
                if options.only in (None, name) and options.recipe in (None, recipe):
                    minutes = options.minutes or photographs.minutes
                    run(name, recipe, seed, minutes, folder, options.data, options.scored)
    records = load_records(folder)
    publish(report(records), "photographs", options.write)
    if options.curves is not None:
        write_whole(options.curves, draw_curves(records))


def run(
    name: str, recipe: str, seed: int, minutes: float, folder: Path, data: Path, scored: int
) -> None:
    """Train and evaluate, unless the record exists."""
    path = folder / f"{name}-{recipe}-{seed}.json"
    if path.exists():
        return
    photographs, run_folder = SETS[name], path.with_suffix("")
    given = {**photographs.given, "recipe": recipe, "seed": seed, "minutes": minutes}
    given |= {"preview_every": 500, "checkpoint_every": 250, "run": run_folder}
    words = [f"--{option.replace('_', '-')}={value}" for option, value in given.items()]
    command("train", str(data / photographs.data), *words)
    found = measure(run_folder, minutes, data / FEATURES, scored)
    last = found[-1]
    record: Record = {
        "data": name,
        "recipe": recipe,
        "seed": seed,
        "minutes": minutes,
        "scored": scored,
        "width": photographs.given["width"],
        "measured": found,
        "steps": last["step"],
        "machine": describe_machine("torch", "onnxruntime"),
    }
    save_record(path, record)


def measure(run_folder: Path, minutes: float, features: Path, scored: int) -> list[Record]:
    """Evaluate about a dozen checkpoints, more of the early ones, and the last one."""
    run_ = Run(run_folder)
    steps = [run_.step_of(path) for path in run_.checkpoints()]
    times = minutes_of(run_folder, steps)
    goals = {*(minutes * 0.75**power for power in range(12)), *MARKS}
    chosen = {steps[-1]}
    for goal in goals:
        after = bisect.bisect_left(times, goal)
        if goal < minutes and after < len(steps):
            chosen.add(steps[after])
    found = []
    for step, taken in zip(steps, times, strict=True):
        if step in chosen:
            metrics = "--metrics=fid,precision,recall" if step == steps[-1] else "--metrics=fid"
            answer = command("eval", str(run_folder), f"--checkpoint={step}", f"-n={scored}",
                             f"--features={features}", metrics, "--json")  # fmt: skip
            values = json.loads(answer)["results"][0]["metrics"]
            found.append(
                {"step": step, "minutes": taken,
                 **{metric: value["mean"] for metric, value in values.items()}}
            )  # fmt: skip
    return found


def minutes_of(run_folder: Path, steps: Sequence[int]) -> list[float]:
    """Return the minutes of training up to each of some steps."""
    lines = Run(run_folder).metrics.read_text(encoding="utf-8").splitlines()
    logged, ends, last, seconds = [0], [0.0], 0, 0.0
    for line in map(json.loads, lines):
        if line.get("seconds_per_step"):
            seconds += (line["step"] - last) * line["seconds_per_step"]
            last = line["step"]
            logged.append(last)
            ends.append(seconds)
    return [ends[max(0, bisect.bisect_right(logged, step) - 1)] / 60 for step in steps]


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
    for record in records:
        cells = [_at(record, mark) for mark in MARKS]
        last = record["measured"][-1]
        rows.append(
            (_name(record), f"{record['steps']:,}", *cells,
             f"{last['precision']:.2f}", f"{last['recall']:.2f}")
        )  # fmt: skip
    heads = ("", "steps", *(f"after {mark} min" for mark in MARKS), "precision", "recall")
    about = f"    {records[-1]['machine']}; {records[-1]['scored']:,} images"
    return f"{about}\n\n{table(heads, rows)}"


def _name(record: Record) -> str:
    return "{data}: {recipe}, width {width}, seed {seed}".format_map(record)


def _at(record: Record, mark: float) -> str:
    """Return the distance at a time, if the run was that long."""
    near = min(record["measured"], key=lambda each: abs(each["minutes"] - mark))
    is_near = abs(math.log(max(near["minutes"], 1e-6) / mark)) < 0.15
    return f"{near['fid']:.1f}" if is_near else ""


def draw_curves(records: Sequence[Record]) -> bytes:
    """Draw the distance of each run over its minutes, one panel for each data set."""
    import io

    from matplotlib.figure import Figure

    names = list(dict.fromkeys(record["data"] for record in records))
    figure = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained")
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        for record in (each for each in records if each["data"] == name):
            points = [(each["minutes"], each["fid"]) for each in record["measured"]]
            axes.plot(*zip(*points, strict=True), marker=".", label=record["recipe"])
        axes.set(title=name, xlabel="minutes", ylabel="FD-EfficientNet-Lite0")
        axes.set(xscale="log", yscale="log")
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
