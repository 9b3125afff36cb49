"""`--minutes`: a training that ends in time, with the width that pays off in it."""

import dataclasses
import itertools
import time
from collections.abc import Collection

import torch

from wgan.errors import OutOfMemory, UsageError
from wgan.training.config import TrainConfig
from wgan.training.data import Batch
from wgan.training.device import tf32_mode
from wgan.training.loop import train_steps
from wgan.training.memory import explain_oom
from wgan.training.networks import Architecture, build
from wgan.training.state import TrainState

WIDTHS = (16, 32, 64, 128)

ENOUGH_STEPS = 3000
"""Steps that a width must have time for to be chosen; a rule of thumb."""

FEWEST_STEPS = 500
"""With fewer steps than these, batches are halved."""

SHARE = 0.97
"""Part of the time that is for steps; the rest is for previews and checkpoints."""

LEAST_CHANGE = 0.01
"""A plan is changed when its number of steps is off by more than this."""


def plan(
    config: TrainConfig,
    device: torch.device,
    given: Collection[str],
    architecture: Architecture | None = None,
) -> TrainConfig:
    """Choose the number of steps, and the width and batch size unless given, for `config.minutes`.

    A few steps of each width are measured on this machine, narrow ones first. `architecture` is
    as for `build`.

    Raises:
        UsageError: not even a step fits into the time, or as `build`.
        OutOfMemory: not even the smallest networks fit into memory.
    """
    widths = (config.width,) if "width" in given else WIDTHS
    chosen: TrainConfig | None = None
    for width in widths:
        try:
            wider = dataclasses.replace(config, width=width)
            candidate = _with_steps(wider, device, architecture)
        except OutOfMemory:
            if chosen is None:
                raise
            break
        if chosen is not None and candidate.steps < ENOUGH_STEPS:
            break
        chosen = candidate
    assert chosen is not None
    while chosen.steps < FEWEST_STEPS and "batch_size" not in given and chosen.batch_size > 16:
        smaller = dataclasses.replace(chosen, batch_size=chosen.batch_size // 2)
        chosen = _with_steps(smaller, device, architecture)
    return chosen


def replan(config: TrainConfig, step: int, seconds: float, seconds_per_step: float) -> TrainConfig:
    """Set the number of steps to what fits into the time that is left.

    Args:
        config: its `minutes` are the time in all.
        step: the step that is done.
        seconds: time that the run has taken so far.
        seconds_per_step: how long a step takes now.
    """
    fits = round((60 * config.minutes - seconds) / seconds_per_step)
    if fits < 1 and step >= config.steps:
        return config  # the run is done
    steps = step + max(1, fits)  # its last step is logged and has a preview
    if abs(steps - config.steps) <= LEAST_CHANGE * steps:
        return config
    return dataclasses.replace(config, steps=steps)


def _with_steps(
    config: TrainConfig, device: torch.device, architecture: Architecture | None
) -> TrainConfig:
    with tf32_mode(config.precision), explain_oom(config, device):
        seconds = measure_step(config, device, architecture)
    steps = int(SHARE * 60 * config.minutes / seconds)
    if steps < 1:
        raise UsageError(
            f"--minutes {config.minutes:g}: a step takes {seconds:.2g} s here; give more minutes,"
            " or a smaller --width or --batch-size"
        )
    return dataclasses.replace(config, steps=steps)


def measure_step(
    config: TrainConfig, device: torch.device, architecture: Architecture | None
) -> float:
    """Return the seconds of a training step on random images, the shorter of two."""
    state = TrainState(*build(config, architecture), config, device)
    shape = (config.batch_size, config.channels, config.height, config.image_width)
    images = torch.rand(shape, device=device).to(memory_format=torch.channels_last) * 2 - 1
    batch = Batch.of(images)
    if config.conditional:
        labels = torch.randint(len(config.classes), (config.batch_size,), device=device)
        batch = Batch(images, labels)
    times = []
    for step in itertools.islice(train_steps(state, lambda: batch, config), 4):
        float(step.generator_loss)  # waits for the device
        times.append(time.perf_counter())
    return min(later - earlier for earlier, later in itertools.pairwise(times[1:]))
