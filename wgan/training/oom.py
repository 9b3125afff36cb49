"""What is said when a step does not fit into memory: how large a batch would."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wgan.errors import OutOfMemory
from wgan.host import MIB
from wgan.training.config import TrainConfig
from wgan.training.memory import step_memory
from wgan.training.state import TrainState

ALLOCATORS = ("DefaultCPUAllocator", "MPS backend out of memory")
"""What stands in the RuntimeErrors that PyTorch raises on CPUs and on Apple's GPUs."""

SPARE = 0.85
"""The share of the free memory that a batch may take: the estimate is one, and how the heap falls
to pieces differs from run to run. `ulimit -v` counts addresses as well that are never used."""


@contextmanager
def explain_oom(
    players: TrainState, config: TrainConfig, free: int | None, resident: bool = False
) -> Iterator[None]:
    """Turn PyTorch's errors about memory into a sentence that says which batch would fit.

    Args:
        players: what is trained.
        config: the run's settings.
        free: bytes that were free on the device before the first step; None: nobody knows.
        resident: the images lie on the device as well.

    Raises:
        OutOfMemory: a step does not fit.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        if not is_oom(exc):
            raise
        sentence = advice(players, config, free)
        if resident:
            sentence += "; or leave the images in the host's memory with --data-on-device no"
        raise OutOfMemory(sentence) from exc


def is_oom(error: Exception) -> bool:
    """Whether it was memory that an error is about."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(name in str(error) for name in ALLOCATORS)


def advice(players: TrainState, config: TrainConfig, free: int | None) -> str:
    """The sentence: what does not fit, and what would."""
    does_not_fit = (
        f"a batch of {config.batch_size} images of {config.size}x{config.size}"
        f"{f' in {config.accumulate} parts' if config.accumulate > 1 else ''} does not fit into the"
        f" memory of {players.device}"
    )
    if free is None:
        return f"{does_not_fit}; begin anew with a lower --batch-size, or a higher --accumulate"
    does_not_fit += f", of which {free / MIB:,.0f} MiB were free"
    fits = largest_microbatch(players, config, free)
    if fits == 0:
        return f"{does_not_fit}, and neither does one image: lower --width"
    parts = next(k for k in range(1, config.batch_size + 1)
                 if config.batch_size % k == 0 and config.batch_size // k <= fits)  # fmt: skip
    whole = fits * config.accumulate  # --accumulate has to divide it
    return (
        f"{does_not_fit}; about {whole} would: begin anew, in another --run, with --batch-size"
        f" {whole}, or with --accumulate {parts}, which takes the same batch in smaller parts"
    )


def largest_microbatch(players: TrainState, config: TrainConfig, free: int) -> int:
    """About how many images fit at a time into `free` bytes; 0 for none.

    A step's memory grows in proportion with them, so two estimates are enough.
    """
    part = config.batch_size // config.accumulate
    small = max(1, part // 8)
    least, most = (_needed(players, config, images) for images in (small, part))
    if least is None or most is None:
        return max(1, part // 2)
    each = max(1.0, (most - least) / max(1, part - small))
    fits = int(small + (SPARE * free - least) / each)
    # That it does not fit is known, whatever the estimate says.
    return max(0, min(fits, part - 1))


def _needed(players: TrainState, config: TrainConfig, images: int) -> int | None:
    smaller = dataclasses.replace(config, batch_size=images, accumulate=1)
    return step_memory(players, smaller)
