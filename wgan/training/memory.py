"""How much memory a training step will take, found without taking it.

A step of the real loop runs on fake tensors, which have a shape and a device but no values, while
every one that comes and goes is counted. So the answer holds for any networks and settings.
"""

import copy
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wgan.host import resident_memory
from wgan.latents import PREVIEW_SEEDS
from wgan.training.config import TrainConfig
from wgan.training.loop import train_steps
from wgan.training.monitoring.holdout import MAX_SCORED
from wgan.training.optimizers import make_optimizer
from wgan.training.state import TrainState

WORKSPACE = {"cpu": 2.0, "cuda": 1.1, "mps": 1.1}
"""What kernels, copies in their own layout and gaps add to a step's tensors, as a factor.

Measured on CPUs; an allowance on the others.
"""


def memory_needed(players: TrainState, config: TrainConfig) -> int | None:
    """About the most bytes that this process will hold on the device once it trains.

    On a CPU that is all of its memory; on a GPU the tensors, beside what the driver takes. None
    where it cannot be told.
    """
    step, held = step_memory(players, config), resident_memory()
    if players.device.type == "cuda":
        held = int(torch.cuda.memory_allocated(players.device))
    return None if step is None or held is None else held + step


def step_memory(players: TrainState, config: TrainConfig) -> int | None:
    """About the most bytes that training will take on the device beside what `players` hold now.

    None where a network of the user's own cannot be followed, since its way depends on values.
    """
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        networks = copy.deepcopy((players.generator, players.critic, players.generator_ema))
    twin = copy.copy(players)
    twin.generator, twin.critic, twin.generator_ema = networks
    twin.generator_optimizer = make_optimizer(twin.generator, config)
    twin.critic_optimizer = make_optimizer(twin.critic, config)
    # Nothing is drawn: fake tensors have no values, and the run's own noise stays where it is.
    twin.rng = None  # type: ignore[assignment]
    tally = _Tally()
    with fake, tally:
        for network in networks:
            for tensor in (*network.parameters(), *network.buffers()):
                tally.add(tensor)
        held = tally.now
        try:
            _work(twin, config)
        except RuntimeError:
            return None
    return round((tally.peak - held) * WORKSPACE.get(players.device.type, 1.0))


def _work(players: TrainState, config: TrainConfig) -> None:
    """All that takes memory: two steps, since the first makes the optimisers' state; a preview."""

    def images(count: int) -> Tensor:
        shape = (count, config.channels, config.size, config.size)
        return torch.empty(shape, device=players.device)

    steps = train_steps(players, lambda: images(config.batch_size), config)
    next(steps)
    next(steps)
    with torch.no_grad():
        latents = torch.empty(len(PREVIEW_SEEDS), config.latent_dim, device=players.device)
        players.generator_ema(latents)
        if config.holdout > 0:
            players.critic(images(MAX_SCORED))


class _Tally(TorchDispatchMode):
    """Counts the bytes of all tensors that live while it is on, and the most there were."""

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
        """Let an operation run, then count what it made."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once for all its views, until it is gone."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
