"""A cost model of a training step on many GPUs.

Its inputs are counted (`Counts`) or ASSUMED: the GPUs and their links were not measured.
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
from wgan.training.state import TrainState, make_optimizer

LARGE = TrainConfig(size=64, width=64, batch_size=64)
"""The run of the tables for GPUs: the default recipe, 64 images per GPU."""

GPUS_PER_MACHINE = 8

# ASSUMED, from NVIDIA's data sheets of the H100 SXM and the DGX H100.
PEAK = 494.5e12  # FLOP/s, TF32 on dense matrices
LAUNCH = 5e-6  # host seconds per PyTorch operation
MEMORY = 3.35e12  # bytes/s
NVLINK = 450e9  # bytes/s per GPU and direction
NVLINK_LATENCY = 10e-6  # seconds of the smallest all-reduce within a machine


@dataclass(frozen=True)
class Network:
    """The network between machines; ASSUMED."""

    name: str
    bytes_per_second: float  # per GPU and direction
    latency: float  # seconds between two machines


NETWORKS = (
    Network("InfiniBand, 400 Gbit/s per GPU", 50e9, 5e-6),
    Network("Ethernet, 25 Gbit/s per machine", 25e9 / 8 / GPUS_PER_MACHINE, 50e-6),
)

# Meta, "The Llama 3 Herd of Models" (2024), section 3.3.4: 419 unexpected interruptions in 54 days
# on 16,384 GPUs.
FAILURES_PER_MACHINE_DAY = 419 / 54 / (16_384 / GPUS_PER_MACHINE)


@dataclass(frozen=True)
class Counts:
    """Work of a step on one rank."""

    flops: float
    operations: int
    critic_bytes: int  # gradients of a critic update
    generator_bytes: int
    norm_bytes: list[int]  # statistics of each batch norm
    critic_updates: int

    @property
    def all_reduces(self) -> list[int]:
        """The bytes of each collective of a step."""
        # The generator runs forward for each critic update and its own, and backward once.
        norms = self.norm_bytes * (self.critic_updates + 2)
        return [self.critic_bytes] * self.critic_updates + [self.generator_bytes, *norms]


def count(config: TrainConfig) -> Counts:
    """Count the work of a step, on fake tensors."""
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
        shape = (config.batch_size, config.channels, config.height, config.image_width)
        steps = train_steps(state, lambda: torch.empty(shape), config)
        next(steps)  # allocates the optimiser state
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
class Prediction:
    """Predicted seconds of a step on `gpus` GPUs."""

    gpus: int
    batch: int  # of all GPUs
    compute: float
    gradients: float
    norms: float
    latents: float

    @property
    def seconds(self) -> float:
        """The sum of all parts, because none overlap."""
        return self.compute + self.gradients + self.norms + self.latents


def predict(counts: Counts, network: Network, gpus: int, batch: int, share: float) -> Prediction:
    """Predict a step of `batch` images on `gpus` GPUs that reach `share` of PEAK."""
    mine = batch / gpus
    arithmetic = counts.flops * mine / LARGE.batch_size / (PEAK * share)
    launches = counts.operations * LAUNCH
    updates = counts.critic_updates + 1
    large = counts.all_reduces[:updates]
    small = counts.all_reduces[updates:]
    # Every rank draws the latents of the whole batch: each float is written and read.
    drawn = 2 * 4 * batch * LARGE.latent_dim * updates / MEMORY
    return Prediction(
        gpus=gpus,
        batch=batch,
        # A single GPU replays a CUDA graph (--cuda-graph); several launch each operation.
        compute=arithmetic if gpus == 1 else max(arithmetic, launches),
        gradients=sum(all_reduce(size, network, gpus) for size in large),
        norms=sum(all_reduce(size, network, gpus) for size in small),
        latents=drawn if gpus > 1 else 0.0,
    )


def all_reduce(size: int, network: Network, gpus: int) -> float:
    """Return the seconds for `size` bytes: within each machine, between machines, and back.

    A ring's bandwidth (2 (n - 1) / n of the bytes leave each GPU) and a tree's latency.
    """
    if gpus == 1:
        return 0.0
    inside = min(gpus, GPUS_PER_MACHINE)
    machines = gpus // inside
    seconds = NVLINK_LATENCY + 2 * (inside - 1) / inside * size / NVLINK
    if machines > 1:
        part = size / inside  # each GPU reduces its part of the sum with the other machines
        seconds += 2 * math.ceil(math.log2(machines)) * network.latency
        seconds += 2 * (machines - 1) / machines * part / network.bytes_per_second
    return seconds
