"""CIFAR-10 and CelebA with the Inception FID: what a GPU is needed for.

    python -m benchmarks.quality.large RESULTS [--only cifar10] [--seeds 1] [--device cuda]
        [--estimate] [--tflops 15] [--write docs/quality.md]

It gives the commands that a user gives, `wgan train` and `wgan eval`, and prints each. A run goes
on where it was killed. `--estimate` runs nothing: it counts a step's arithmetic and says how long
the runs would take at `--tflops`, which is a guess of yours, not a measurement.
"""

import dataclasses
import json
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
from benchmarks.operations import count_operations
from benchmarks.quality.records import (
    Record,
    arguments,
    load_records,
    save_record,
    spread,
    table,
    write_block,
)
from wgan.training.config import TrainConfig
from wgan.training.loop import TrainState, train_steps
from wgan.training.networks import build

COUNTED = 2
"""Images in the batch whose arithmetic is counted; the work grows in proportion."""


@dataclass(frozen=True)
class Plan:
    """A data set, the settings that differ from the defaults, and what others published."""

    data: str
    given: Mapping[str, Any]
    published: Sequence[tuple[str, str]] = ()  # who, FID
    features: str = "inception"  # as for `wgan eval`

    @property
    def config(self) -> TrainConfig:
        """All settings of the run."""
        return TrainConfig.resolve({"data": self.data, **self.given})


PLANS: Mapping[str, Plan] = MappingProxyType(
    {
        "cifar10": Plan(
            "cifar10",
            # The paper's run: its learning rate falls to 0 over 100,000 steps.
            {"recipe": "resnet", "size": 32, "steps": 100_000, "checkpoint_every": 5000},
            (
                ("WGAN-GP, as TTUR's authors ran it", "29.3"),
                ("WGAN-GP, ResNet, mimicry", "22.3"),
                ("WGAN-GP, CNN, pytorch-gan-collections", "19.8"),
            ),
        ),
        "celeba": Plan(
            "celeba",
            {
                "size": 64,
                "crop": 178,
                "width": 64,
                "learning_rate": 2e-4,
                "steps": 100_000,
                "checkpoint_every": 5000,
            },
        ),
    }
)


def train_command(plan: Plan, run: Path, seed: int, device: str) -> list[str]:
    """`wgan train` with the plan's settings."""
    options = {**plan.given, "seed": seed, "keep": 2, "run": run, "device": device}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "wgan", "train", plan.data, *words, "--download"]


def eval_command(plan: Plan, run: Path, scored: int, device: str) -> list[str]:
    """`wgan eval` of the run's newest checkpoint."""
    where = (f"--data={plan.data}", f"--features={plan.features}", f"--device={device}")
    what = ("-n", str(scored), "--metrics=fid", "--download", "--json")
    return [sys.executable, "-m", "wgan", "eval", str(run), *where, *what]


def step_flops(config: TrainConfig) -> float:
    """Additions and multiplications of one step, its critic updates included."""
    small = dataclasses.replace(config, batch_size=COUNTED, accumulate=1)
    players = TrainState(*build(small), small, torch.device("cpu"))
    shape = (COUNTED, config.channels, config.size, config.size)
    real = torch.zeros(shape).to(memory_format=torch.channels_last)
    counted = count_operations(lambda: next(train_steps(players, lambda: real, small)))
    return counted.flops * config.batch_size / COUNTED


def estimate(plan: Plan, tflops: float) -> str:
    """How long a run would take at so many 10^12 operations a second; one sentence."""
    config = plan.config
    work = step_flops(config)
    hours = work * config.steps / (tflops * 1e12) / 3600
    return (
        f"{plan.data}: {work / 1e12:.2f} TFLOP a step, {config.steps:,} steps: {hours:.1f} hours a"
        f" run at {tflops:g} TFLOP/s. Computed from the arithmetic, not measured."
    )


def run_plan(plan: Plan, seed: int, folder: Path, scored: int, device: str) -> None:
    """Train and evaluate unless the record is there."""
    place = folder / f"{Path(plan.data).name}-{seed}"
    path = folder / f"{place.name}.json"
    if path.exists():
        return
    run_command(train_command(plan, place, seed, device), stdout=None)
    answer = json.loads(run_command(eval_command(plan, place, scored, device), subprocess.PIPE))
    record = {
        "data": plan.data,
        "seed": seed,
        "scored": scored,
        "fid": answer["results"][0]["metrics"]["fid"]["mean"],
        "features": answer["features"],
        "settings": dataclasses.asdict(plan.config),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "machine": describe_machine("torch"),
    }
    save_record(path, record)


def run_command(words: Sequence[str], stdout: int | None) -> str:
    """Print the command and run it; returns what it wrote to `stdout`, if that is a pipe."""
    print(shlex.join(["wgan", *words[3:]]), flush=True)
    return subprocess.run(words, check=True, stdout=stdout, text=True).stdout


def report(records: Sequence[Record]) -> str:
    """The table of what was run, beside what others published."""
    rows = []
    for name, plan in PLANS.items():
        runs = [record for record in records if record["data"] == plan.data]
        if runs:
            fids = [run["fid"] for run in runs]
            rows.append((f"{name}: wgan, {runs[0]['device']}", spread(fids, ".1f")))
        rows += [(f"{name}: {who}", fid) for who, fid in plan.published]
    return table(("", "FID"), rows)


def main() -> None:
    """Run what is missing, print the table, and write it where asked."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=PLANS, help="one data set alone")
    parser.add_argument("--device", default="cuda", help="as for wgan train")
    parser.add_argument("--scored", type=int, default=50_000, help="generated images")
    parser.add_argument("--estimate", action="store_true", help="say how long it would take")
    parser.add_argument("--tflops", type=float, default=15, help="assumed by --estimate")
    options = parser.parse_args()
    plans = [PLANS[options.only]] if options.only else list(PLANS.values())
    folder = options.results / "large"
    if options.estimate:
        tell(
            "\n".join(f"- {estimate(plan, options.tflops)}" for plan in plans),
            folder,
            options.write,
        )
        return
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("nothing was run: PyTorch finds no CUDA device here; --estimate says what it takes")
        return
    for seed in range(options.seeds):
        for plan in plans:
            run_plan(plan, seed, folder, options.scored, options.device)
    tell("", folder, options.write)


def tell(before: str, folder: Path, page: Path | None) -> None:
    """Print the table under what comes before it, and write both where asked."""
    text = f"{before}\n\n{report(load_records(folder))}".strip()
    print(text)
    if page:
        write_block(page, "large", text)


if __name__ == "__main__":
    main()
