"""Inception FID on CIFAR-10 and CelebA, on a GPU.

    python -m benchmarks.quality.large RESULTS [--only cifar10] [--seeds 1] [--device cuda]
        [--estimate] [--tflops 15] [--write docs/quality.md]

It runs and prints the commands `wgan train` and `wgan eval`. An interrupted run continues.
`--estimate` runs nothing: it counts the operations of a step and computes the duration of the runs
at `--tflops`, which you assume.
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
    publish,
    save_record,
    spread,
    table,
)
from wgan.training.config import TrainConfig
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState

COUNTED_BATCH = 2
"""Batch whose operations are counted; they are proportional to its size."""


@dataclass(frozen=True)
class LargeRun:
    """A data set, the settings that differ from the defaults, and published results."""

    data: str
    given: Mapping[str, Any]
    published: Sequence[tuple[str, str]] = ()  # method, FID
    features: str = "inception"  # as for `wgan eval`

    @property
    def config(self) -> TrainConfig:
        """Return all settings."""
        return TrainConfig.resolve({"data": self.data, **self.given})


RUNS: Mapping[str, LargeRun] = MappingProxyType(
    {
        "cifar10": LargeRun(
            "cifar10",
            # As in the paper, the learning rate falls to 0 over 100,000 steps.
            {"recipe": "resnet", "size": 32, "steps": 100_000, "checkpoint_every": 5000},
            (
                ("WGAN-GP, as TTUR's authors ran it", "29.3"),
                ("WGAN-GP, ResNet, mimicry", "22.3"),
                ("WGAN-GP, CNN, pytorch-gan-collections", "19.8"),
            ),
        ),
        "celeba": LargeRun(
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


def train_command(plan: LargeRun, run: Path, seed: int, device: str) -> list[str]:
    """Return the command `wgan train`."""
    options = {**plan.given, "seed": seed, "keep": 2, "run": run, "device": device}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "wgan", "train", plan.data, *words, "--download"]


def eval_command(plan: LargeRun, run: Path, scored: int, device: str) -> list[str]:
    """Return the command `wgan eval` of the newest checkpoint."""
    inputs = (f"--data={plan.data}", f"--features={plan.features}", f"--device={device}")
    outputs = ("-n", str(scored), "--metrics=fid", "--download", "--json")
    return [sys.executable, "-m", "wgan", "eval", str(run), *inputs, *outputs]


def step_flops(config: TrainConfig) -> float:
    """Count the additions and multiplications of a step with its critic updates."""
    small = dataclasses.replace(config, batch_size=COUNTED_BATCH, accumulate=1)
    state = TrainState(*build(small), small, torch.device("cpu"))
    shape = (COUNTED_BATCH, config.channels, config.height, config.image_width)
    real = torch.zeros(shape).to(memory_format=torch.channels_last)
    counted = count_operations(lambda: next(train_steps(state, lambda: real, small)))
    return counted.flops * config.batch_size / COUNTED_BATCH


def estimate(plan: LargeRun, tflops: float) -> str:
    """Estimate the duration of a run at `tflops` 10^12 operations per second, in a sentence."""
    config = plan.config
    work = step_flops(config)
    hours = work * config.steps / (tflops * 1e12) / 3600
    return (
        f"{plan.data}: {work / 1e12:.2f} TFLOP a step, {config.steps:,} steps: {hours:.1f} hours a"
        f" run at {tflops:g} TFLOP/s. Computed from the arithmetic, not measured."
    )


def run_plan(plan: LargeRun, seed: int, folder: Path, scored: int, device: str) -> None:
    """Train and evaluate, unless the record exists."""
    run_folder = folder / f"{Path(plan.data).name}-{seed}"
    path = run_folder.with_name(f"{run_folder.name}.json")
    if path.exists():
        return
    run_command(train_command(plan, run_folder, seed, device), stdout=None)
    answer = json.loads(
        run_command(eval_command(plan, run_folder, scored, device), subprocess.PIPE)
    )
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
    """Print and run a command; return its output, if `stdout` is a pipe."""
    print(shlex.join(["wgan", *words[3:]]), flush=True)
    return subprocess.run(words, check=True, stdout=stdout, text=True).stdout


def report(records: Sequence[Record]) -> str:
    """Return a table of the runs and of published results."""
    rows = []
    for name, plan in RUNS.items():
        runs = [record for record in records if record["data"] == plan.data]
        if runs:
            fids = [run["fid"] for run in runs]
            rows.append((f"{name}: wgan, {runs[0]['device']}", spread(fids, ".1f")))
        rows += [(f"{name}: {method}", fid) for method, fid in plan.published]
    return table(("", "FID"), rows)


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=RUNS, help="only this data set")
    parser.add_argument("--device", default="cuda", help="as for wgan train")
    parser.add_argument("--scored", type=int, default=50_000, help="generated images")
    parser.add_argument("--estimate", action="store_true", help="estimate the duration")
    parser.add_argument("--tflops", type=float, default=15, help="assumed by --estimate")
    options = parser.parse_args()
    plans = [RUNS[options.only]] if options.only else list(RUNS.values())
    folder = options.results / "large"
    if options.estimate:
        estimates = "\n".join(f"- {estimate(plan, options.tflops)}" for plan in plans)
        publish(f"{estimates}\n\n{report(load_records(folder))}", "large", options.write)
        return
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("nothing was run: PyTorch finds no CUDA device; use --estimate")
        return
    for seed in range(options.seeds):
        for plan in plans:
            run_plan(plan, seed, folder, options.scored, options.device)
    publish(report(load_records(folder)), "large", options.write)


if __name__ == "__main__":
    main()
