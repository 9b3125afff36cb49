"""What a step of training would cost on many GPUs: a small model of its parts.

Its inputs are counted (`Counts`), or ASSUMED: nobody has measured the GPUs and their links here.
"""

import copy
import math
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from benchmarks.operations import count_operations
from wgan.training.config import TrainConfig
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.optimizers import make_optimizer
from wgan.training.state import TrainState

LARGE = TrainConfig(size=64, width=64, batch_size=64)
"""What the tables for GPUs are about: the usual size, 64 images on each GPU."""

GPUS_PER_MACHINE = 8

# Assumed, for want of a GPU. Sources: NVIDIA's data sheets of the H100 SXM and the DGX H100.
PEAK = 494.5e12  # FLOP/s, TF32 on dense matrices
LAUNCH = 5e-6  # seconds of the host for an operation of PyTorch
MEMORY = 3.35e12  # bytes/s
NVLINK = 450e9  # bytes/s, a GPU's, each way
NVLINK_LATENCY = 10e-6  # seconds of the smallest all-reduce in a machine


@dataclass(frozen=True)
class Network:
    """What joins the machines; ASSUMED."""

    name: str
    bytes_per_second: float  # each way, for each GPU
    latency: float  # seconds from one machine to another


NETWORKS = (
    Network("InfiniBand, 400 Gbit/s for each GPU", 50e9, 5e-6),
    Network("Ethernet, 25 Gbit/s for each machine", 25e9 / 8 / GPUS_PER_MACHINE, 50e-6),
)

# Meta, "The Llama 3 Herd of Models" (2024), section 3.3.4: 419 unexpected interruptions in 54 days
# on 16,384 GPUs.
FAILURES_PER_MACHINE_DAY = 419 / 54 / (16_384 / GPUS_PER_MACHINE)


@dataclass(frozen=True)
class Counts:
    """A step's work in one process."""

    flops: float
    operations: int
    critic_bytes: int  # of a critic update's gradients
    generator_bytes: int
    norm_bytes: list[int]  # of each batch norm's statistics, once
    critic_updates: int

    @property
    def all_reduces(self) -> list[int]:
        """The bytes of each collective of a step."""
        # The generator draws for each critic update, draws for its own, and goes back once.
        norms = self.norm_bytes * (self.critic_updates + 2)
        return [self.critic_bytes] * self.critic_updates + [self.generator_bytes, *norms]


def count(config: TrainConfig) -> Counts:
    """Take a step with tensors that have no values."""
    state = TrainState(*build(config), config, torch.device("cpu"))
    state.rng = None  # type: ignore[assignment]
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        state.generator, state.critic, state.generator_ema = copy.deepcopy(
            (state.generator, state.critic, state.generator_ema)
        )
    with fake:
        state.generator_optimizer = make_optimizer(state.generator, config)
        state.critic_optimizer = make_optimizer(state.critic, config)
        shape = (config.batch_size, config.channels, config.size, config.size)
        steps = train_steps(state, lambda: torch.empty(shape), config)
        next(steps)  # makes the optimisers' state
        done = count_operations(lambda: next(steps))
    norms = [
        module
        for module in state.generator.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    return Counts(
        flops=done.flops,
        operations=done.calls,
        critic_bytes=4 * sum(weight.numel() for weight in state.critic.parameters()),
        generator_bytes=4 * sum(weight.numel() for weight in state.generator.parameters()),
        norm_bytes=[2 * 8 * norm.num_features for norm in norms],
        critic_updates=config.n_critic,
    )


@dataclass(frozen=True)
class Foretold:
    """Seconds of a step on so many GPUs."""

    gpus: int
    batch: int  # of all of them
    compute: float
    gradients: float
    norms: float
    draws: float

    @property
    def seconds(self) -> float:
        """All of it: nothing overlaps."""
        return self.compute + self.gradients + self.norms + self.draws


def foretell(counts: Counts, network: Network, gpus: int, batch: int, share: float) -> Foretold:
    """A step of `batch` images on `gpus` GPUs, `share` of PEAK reached."""
    mine = batch / gpus
    arithmetic = counts.flops * mine / LARGE.batch_size / (PEAK * share)
    launches = counts.operations * LAUNCH
    updates = counts.critic_updates + 1
    large = counts.all_reduces[:updates]
    small = counts.all_reduces[updates:]
    # Everyone draws the whole batch's latents: a write and a read of each float.
    drawn = 2 * 4 * batch * LARGE.latent_dim * updates / MEMORY
    return Foretold(
        gpus=gpus,
        batch=batch,
        # One GPU by itself repeats a recorded step (--cuda-graph); several launch each operation.
        compute=arithmetic if gpus == 1 else max(arithmetic, launches),
        gradients=sum(all_reduce(size, network, gpus) for size in large),
        norms=sum(all_reduce(size, network, gpus) for size in small),
        draws=drawn if gpus > 1 else 0.0,
    )


def all_reduce(size: int, network: Network, gpus: int) -> float:
    """Seconds for `size` bytes: summed within each machine, then between machines, then back.

    A ring's bandwidth (2 (n - 1) / n of the bytes leave each GPU) and a tree's latency.
    """
    if gpus == 1:
        return 0.0
    inside = min(gpus, GPUS_PER_MACHINE)
    machines = gpus // inside
    seconds = NVLINK_LATENCY + 2 * (inside - 1) / inside * size / NVLINK
    if machines > 1:
        part = size / inside  # each GPU carries its part of the sum to the other machines
        seconds += 2 * math.ceil(math.log2(machines)) * network.latency
        seconds += 2 * (machines - 1) / machines * part / network.bytes_per_second
    return seconds
