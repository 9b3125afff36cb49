"""Memory of a training step: an estimate before the run, and what to change when it runs out."""

import copy
import dataclasses
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wgan.errors import OutOfMemory
from wgan.host import resident_memory
from wgan.latents import PREVIEW_SEEDS
from wgan.training.config import TrainConfig
from wgan.training.data import Batch
from wgan.training.loop import train_steps
from wgan.training.monitoring.step_stats import MAX_SCORED
from wgan.training.networks import BUILT_IN, build, load_architecture
from wgan.training.state import TrainState, make_optimizer

WORKSPACE = {"cpu": 2.0, "cuda": 1.1, "mps": 1.1}
"""Factor for kernel workspaces, copies in another memory format and fragmentation.

Measured on CPUs; an allowance on the other devices.
"""

ALLOCATORS = ("DefaultCPUAllocator", "MPS backend out of memory")
"""Text of the RuntimeErrors that PyTorch raises for lack of memory on CPUs and on Apple's GPUs."""


@contextmanager
def explain_oom(
    config: TrainConfig, device: torch.device, ranks: int = 1, data_on_device: bool = False
) -> Iterator[None]:
    """Turn PyTorch's errors about memory into a sentence that says what to change.

    Raises:
        OutOfMemory: a step does not fit.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as exc:  # torch.OutOfMemoryError is a RuntimeError
        if not is_oom(exc):
            raise
        message = f"out of memory on {device}: {_smaller_step(config, ranks)}"
        if data_on_device:
            message += "; or keep the images in host memory with --data-on-device no"
        raise OutOfMemory(message) from exc


def check_networks_fit(config: TrainConfig, device: torch.device) -> None:
    """Check that the weights of built-in networks fit, with all that training keeps for them.

    Linux hands out memory that it does not have, and kills the process that uses it.

    Raises:
        OutOfMemory: they do not fit into the memory that is free.
    """
    free = free_memory(device)
    # Smaller ones fit anywhere, and PyTorch takes two seconds for its first tensor without memory.
    is_large = config.width * max(config.image_shape[:2]) >= 8192
    if free is None or config.arch not in BUILT_IN or not is_large:
        return
    with torch.device("meta"):  # shapes without memory
        networks = BUILT_IN[config.arch](config)
    sizes = [sum(weight.nbytes for weight in network.parameters()) for network in networks]
    # Weights, gradients and two moments of Adam for both, and the generator's EMA.
    needed = 4 * sum(sizes) + sizes[0]
    if needed > free:
        raise OutOfMemory(
            f"--width {config.width}: these networks need {needed / 1e9:.1f} GB to train, and"
            f" {free / 1e9:.1f} GB are free on {device}; lower --width in a new --run"
        )


def is_oom(error: Exception) -> bool:
    """Return whether an error is about a lack of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(name in str(error) for name in ALLOCATORS)


def _smaller_step(config: TrainConfig, ranks: int) -> str:
    batch, unit = config.batch_size, config.accumulate * ranks
    if batch == unit:  # one image at a time
        return "lower --width in a new --run"
    half = max(unit, batch // 2 // unit * unit)
    least = 2 * config.accumulate
    parts = next(k for k in range(least, batch + 1) if batch % (k * ranks) == 0)
    return (
        f"halve --batch-size (to {half}) or use --accumulate {parts}, in a new --run;"
        " --dry-run prints an estimate of the memory"
    )


def estimate_memory(state: TrainState, config: TrainConfig) -> int | None:
    """Estimate the most bytes that training will hold on the device of each rank.

    On a CPU that is all of the process's memory; on a GPU that of its tensors. None if it cannot be
    estimated, as for `step_memory`.
    """
    ranks = state.group.size
    if ranks > 1:  # a rank's share, with networks that do not synchronise with other ranks
        config = dataclasses.replace(config, batch_size=config.batch_size // ranks)
        state = TrainState(*build(config, load_architecture(config.arch)), config, state.device)
    step, held = step_memory(state, config), resident_memory()
    if state.device.type == "cuda":
        held = int(torch.cuda.memory_allocated(state.device))
    return None if step is None or held is None else held + step


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a run may still take on a device; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        (line,) = (line for line in text.splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):  # not Linux
        return None


def step_memory(state: TrainState, config: TrainConfig) -> int | None:
    """Estimate the most bytes that training will take on the device on top of `state`.

    The real training loop runs on fake tensors, which have a shape and a device but no values, and
    the storages that live at a time are added up. None if a network's control flow depends on
    values.
    """
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        networks = copy.deepcopy((state.generator, state.critic, state.generator_ema))
    twin = copy.copy(state)  # shallow: only what a step changes is replaced
    twin.generator, twin.critic, twin.generator_ema = networks
    twin.generator_optimizer = make_optimizer(twin.generator, config)
    twin.critic_optimizer = make_optimizer(twin.critic, config)
    # Fake tensors draw no values, and the run's own random state must not advance.
    twin.rng = None  # type: ignore[assignment]
    tally = _StorageTally()
    with fake, tally:
        for network in networks:
            for tensor in (*network.parameters(), *network.buffers()):
                tally.add(tensor)
        held = tally.now
        try:
            _run_steps(twin, config)
        except RuntimeError:
            return None
    return round((tally.peak - held) * WORKSPACE.get(state.device.type, 1.0))


def _run_steps(state: TrainState, config: TrainConfig) -> None:
    """Do all that takes memory: two steps, because the first allocates Adam's state; a preview."""

    def batch(count: int) -> Batch:
        shape = (count, config.channels, config.height, config.image_width)
        images = torch.empty(shape, device=state.device)
        return Batch(images, labels(count))

    def labels(count: int) -> Tensor | None:
        if not config.conditional:
            return None
        return torch.zeros(count, dtype=torch.int64, device=state.device)

    steps = train_steps(state, lambda: batch(config.batch_size), config)
    next(steps)
    next(steps)
    with torch.no_grad():
        latents = torch.empty(len(PREVIEW_SEEDS), config.latent_dim, device=state.device)
        state.generator_ema(*Batch(latents, labels(len(PREVIEW_SEEDS))).inputs)
        if config.holdout > 0:
            state.critic(*batch(MAX_SCORED).inputs)


class _StorageTally(TorchDispatchMode):
    """Counts the bytes of all live tensor storages, and their peak, while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run an operation, then count its results."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once for all its views, until it is freed."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            # An id is used again once its storage is freed, so it must be forgotten then.
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
