"""Training runs on images in memory, measured in CPU time."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from wgan.files import make_folder, write_whole
from wgan.images import Images, Pixels
from wgan.latents import latents_from_seeds
from wgan.runs import Run
from wgan.training.augmentation import resolve_augment
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import Batch, InMemoryDataset
from wgan.training.data.sources import Labels
from wgan.training.device import resolve_precision
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")

ENDLESS = 10**9
"""More steps than any run takes, since the benchmark decides when to stop."""

TIMES = "cpu.json"
"""Name of the file of milestones in a run's folder."""

Which = Literal["average", "generator"]
"""The EMA of the generator, or the generator itself."""


@dataclass(frozen=True, order=True)
class Milestone:
    """A checkpoint of a run and its cost."""

    step: int
    cpu_seconds: float


class CpuTimer:
    """CPU time of a run over all its processes, saved in a file."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        marks = json.loads(path.read_text()) if path.exists() else []
        # Steps after the last checkpoint of a killed process are repeated, so count them once.
        self.marks = [Milestone(**mark) for mark in marks if mark["step"] <= step]
        before = self.marks[-1].cpu_seconds if self.marks else 0.0
        self._start = time.process_time() - before

    def seconds(self) -> float:
        """Return the CPU time so far."""
        return time.process_time() - self._start

    def mark(self, step: int) -> None:
        """Save the time of `step`, before its checkpoint."""
        self.marks.append(Milestone(step, self.seconds()))
        write_whole(self._path, json.dumps([vars(mark) for mark in self.marks]).encode())

    def reached(self, step: int = 0, cpu_seconds: float = 0.0) -> Milestone | None:
        """Return the first mark at or after both limits."""
        far = (m for m in self.marks if m.step >= step and m.cpu_seconds >= cpu_seconds)
        return next(far, None)


def train_for(
    pixels: Pixels,
    config: TrainConfig,
    folder: Path,
    *,
    steps: int,
    cpu_seconds: float,
    labels: Labels | None = None,
) -> tuple[Milestone, Milestone]:
    """Train, or resume, until both limits are reached, with a checkpoint at each.

    A conditional run has `labels`, of the classes of `config`.

    Returns:
        The milestones of `steps` and of `cpu_seconds`.
    """
    config = dataclasses.replace(config, steps=ENDLESS)
    data = InMemoryDataset.from_array(pixels, labels=labels, class_names=config.classes)
    folder = folder.resolve()
    make_folder(folder.parent)
    # A trainer writes runs/latest in the current folder, which must not be the user's.
    with contextlib.chdir(folder.parent), Trainer(Run(folder), config, data, CPU) as trainer:
        clock = CpuTimer(folder / TIMES, trainer.step)

        def done() -> bool:
            return trainer.step >= steps and clock.reached(0, cpu_seconds) is not None

        for _ in trainer.train(done):
            in_time = clock.seconds() >= cpu_seconds and not clock.reached(0, cpu_seconds)
            goal = in_time or trainer.step == steps
            if goal or trainer.step % config.checkpoint_every == 0:
                clock.mark(trainer.step)
            if goal:
                trainer.save()
    by_steps, by_time = clock.reached(steps), clock.reached(0, cpu_seconds)
    assert by_steps is not None
    assert by_time is not None
    return by_steps, by_time


def load_milestones(folder: Path) -> list[Milestone]:
    """Load the milestones of a run that `train_for` trained, the last one at its end."""
    marks = [Milestone(**mark) for mark in json.loads((folder / TIMES).read_text())]
    steps = {Run.step_of(path) for path in Run(folder).checkpoints()}
    return sorted(mark for mark in set(marks) if mark.step in steps)


def planned_steps(folder: Path, config: TrainConfig, cpu_seconds: float) -> int:
    """Return how many steps fit into a time.

    Up to 30 are measured, in a twentieth of the time, and the number is saved.
    """
    path = folder.parent / f"{folder.name}.steps"
    if not path.exists():
        config = dataclasses.replace(
            config,
            precision=resolve_precision(config.precision, CPU),
            # There are no images here whose number would say what "auto" is.
            augment=resolve_augment(config.augment, None),
        )
        state = TrainState(*build(config), config, CPU)
        shape = (config.batch_size, config.channels, config.height, config.image_width)
        images = torch.zeros(shape).to(memory_format=torch.channels_last)
        labels = torch.zeros(config.batch_size, dtype=torch.int64) if config.conditional else None
        batch = Batch(images, labels)
        steps = train_steps(state, lambda: batch, config)

        def timed(count: int) -> float:
            start = time.process_time()
            for _ in range(count):
                next(steps)
            return (time.process_time() - start) / count

        timed(1)  # allocates
        measured = max(1, min(30, int(cpu_seconds / 20 / timed(1))))
        timed(1 + measured // 3)  # warms up
        each = timed(measured)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, str(max(1, round(cpu_seconds / each))).encode())
    return int(path.read_text())


def load_generator(folder: Path, step: int, which: Which) -> nn.Module:
    """Load a generator from a checkpoint, in eval mode."""
    checkpoint = Checkpoint.load(Run(folder).checkpoint(step))
    generator, _ = build(checkpoint.config)
    generator.load_state_dict(getattr(checkpoint, which))
    return generator.eval().requires_grad_(False)


@torch.inference_mode()
def draw(generator: nn.Module, latent_dim: int, n: int, size: int = 250) -> Iterator[Images]:
    """Yield the images of seeds 0 to n - 1 in batches."""
    for start in range(0, n, size):
        seeds = range(start, min(start + size, n))
        images: Images = generator(torch.from_numpy(latents_from_seeds(seeds, latent_dim))).numpy()
        yield images
