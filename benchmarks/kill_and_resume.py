"""Claim: a run that is killed at any moment loses at most one interval between checkpoints.

Trains a small run that saves after every step, kills it repeatedly with SIGKILL, often while it
writes a checkpoint, checks the files after each kill, resumes the run to its end, and compares its
weights and metrics with those of a run that was never killed.

    python -m benchmarks.kill_and_resume [kills]
"""

import json
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import Transform, load_images
from wgan.training.data.sources import ArraySource
from wgan.training.trainer import Trainer

# Wide, so that writing a checkpoint of 28 MB takes about as long as the step before it.
SETTINGS: dict[str, Any] = {
    "data": "noise", "channels": 1, "width": 32, "latent_dim": 64, "batch_size": 2, "n_critic": 1,
    "decay_steps": 0,  # the number of steps differs
    "log_every": 1, "checkpoint_every": 1, "preview_every": 20, "keep": 2, "keep_every": 10,
}  # fmt: skip

MOMENTS = ("random", "writing", "random", "writing", "starting")
"""When to kill the run, in turn: at a random time while it trains, while it writes a checkpoint, or
while it starts and resumes."""

LONGEST = 0.5
"""Range of a random time, in seconds."""


@dataclass(frozen=True)
class Kill:
    """The state of the run folder after a kill."""

    moment: str  # one of MOMENTS
    logged: int  # the last step in metrics.jsonl
    saved: int  # the step of the newest checkpoint
    partial: int  # number of half-written files


def train(folder: Path, steps: int, checkpoint_every: int = 1) -> None:
    """Start or resume the run in `folder`."""
    torch.set_num_threads(1)
    given = {**SETTINGS, "steps": steps, "checkpoint_every": checkpoint_every}
    pixels = np.random.RandomState(0).randint(0, 256, (16, 32, 32)).astype(np.uint8)
    source = ArraySource("noise", pixels)
    run, config = Run(folder), TrainConfig.resolve(given)
    images = load_images(source, Transform(size=32, channels=1))
    os.chdir(folder.parent)  # for runs/latest
    with Trainer(run, config, images, torch.device("cpu")) as trainer:
        for _ in trainer.train():
            pass


def kill_and_resume(folder: Path, kills: int, seed: int = 0) -> Iterator[Kill]:
    """Kill and resume a run in `folder`, `kills` times.

    Raises AssertionError if a file is damaged after a kill.
    """
    # The fork server imports everything once, so that each child starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wgan.training.trainer", "wgan.training.monitoring.curves"])
    random_ = random.Random(seed)
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        child = context.Process(target=train, args=(folder, 10**6))
        before = newest_step(folder)
        child.start()
        if moment == "starting":
            child.join(random_.uniform(0, LONGEST))
        else:
            _wait_for_step(child, folder, before + random_.randint(1, 6))
        if moment == "random":
            child.join(random_.uniform(0, LONGEST))
        elif moment == "writing":
            _wait_for_a_write(child, folder)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, f"it exited by itself: {child.exitcode}"
        yield _inspect(folder, moment)


def newest_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, or 0."""
    run = Run(folder)
    return max((run.step_of(path) for path in run.checkpoints()), default=0)


def _wait_for_step(child: BaseProcess, folder: Path, step: int) -> None:
    while child.is_alive() and newest_step(folder) < step:
        child.join(0.005)


def _wait_for_a_write(child: BaseProcess, folder: Path) -> None:
    end = time.monotonic() + 60
    while child.is_alive() and not any((folder / "checkpoints").glob(".*.partial")):
        assert time.monotonic() < end, "no temporary file of a checkpoint appears"


def _inspect(folder: Path, moment: str) -> Kill:
    run = Run(folder)
    checkpoints = [Checkpoint.load(path) for path in run.checkpoints()]  # raises when damaged
    for image in [*folder.glob("previews/*.png"), *folder.glob("curves.png")]:
        Image.open(image).load()
    if run.config.exists():
        TrainConfig.from_json(run.config.read_text(), "config.json")
    steps = logged_steps(folder)
    saved = checkpoints[-1].step if checkpoints else 0
    last = steps[-1] if steps else 0
    assert steps == list(range(1, last + 1)), "a line is missing or duplicated"
    assert last - saved <= 1, f"step {last} was logged, but the newest checkpoint is of {saved}"
    return Kill(moment, last, saved, sum(1 for _ in folder.rglob(".*.partial")))


def logged_steps(folder: Path) -> list[int]:
    """Return the steps in metrics.jsonl."""
    path = Run(folder).metrics
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines]


def same_end(one: Path, two: Path, step: int) -> bool:
    """Return whether the checkpoints of two runs are equal bit for bit."""
    states = [Checkpoint.load(Run(folder).checkpoint(step)) for folder in (one, two)]
    parts = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer",
             "noise", "batches_drawn")  # fmt: skip
    leaves = [torch.utils._pytree.tree_leaves([getattr(s, part) for part in parts]) for s in states]
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(*leaves, strict=True)
    )


def main(kills: int) -> None:
    """Kill and resume, print a line for each kill, compare."""
    print(f"{platform.platform()}, Python {platform.python_version()}, PyTorch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder, "killed"), Path(folder, "whole")
        seen = []
        for kill in kill_and_resume(killed, kills):
            seen.append(kill)
            print(f"{len(seen):3}  {kill.moment:8} logged {kill.logged:5}  saved {kill.saved:5}"
                  f"  half-written {kill.partial}", flush=True)  # fmt: skip
        end = seen[-1].saved + 2
        train(killed, end)
        train(whole, end, checkpoint_every=end)
        assert logged_steps(killed) == logged_steps(whole) == list(range(1, end + 1))
        assert same_end(killed, whole, end), "the weights differ"
        assert not list(killed.rglob(".*.partial")), "a half-written file is left"
        cut = sum(kill.partial > 0 for kill in seen)
        lost = max(kill.logged - kill.saved for kill in seen)
        print(f"{kills} kills, {cut} of them in the middle of a write; at most {lost} step lost;"
              f" {end} steps equal those of a run without kills bit for bit")  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
