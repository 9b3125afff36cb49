"""What training on many GPUs would cost: counts, measurements of two processes, and a model.

    python -m benchmarks.scaling [--gpu-share 0.25]

First what can be counted: the arithmetic, bytes and collectives of a step. Then what this machine
can measure with two processes over gloo, and whether the model foretells it. Then the model's
tables for GPUs, from those counts and from ASSUMED figures, which nobody has measured here.
"""

import argparse
import copy
import dataclasses
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.machine import describe_machine
from wgan.runtime.threads import usable_cores
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import load_data, open_data
from wgan.training.data.batches import Batches
from wgan.training.data.glyphs import GlyphSource
from wgan.training.data.prepare import write_shards
from wgan.training.data.transform import Transform
from wgan.training.distributed import ALONE, World, gradients, join
from wgan.training.loop import Players, train_steps
from wgan.training.networks import build
from wgan.training.optimizers import make_optimizer

CPU = torch.device("cpu")

LARGE = TrainConfig(size=64, width=64, batch_size=64)
"""What the tables for GPUs are about: the usual size, 64 pictures on each GPU."""

SMALL = TrainConfig(size=64, width=16, batch_size=16, n_critic=2)
"""What this machine's cores can train while we wait; 16 pictures in each process."""

SHARED_BATCH = 512
"""The batch that is shared out in the second table."""

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


def main() -> None:
    """Count, measure, foretell, and print it all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gpu-share", type=float, default=0.25, help="of PEAK that is reached")
    parser.add_argument("--pair", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pair:
        measure_pair(options.pair)
        return
    print(describe_machine("torch", "numpy"))
    counts = count(LARGE)
    print_counts(counts)
    print_pair(run_pair())
    loader, stream = loader_rates()
    seconds, size = checkpoint_cost()
    print(f"\n| what else a run does, measured here | {LARGE.size}x{LARGE.size} |\n| --- | --- |")
    print(f"| loader, from the cache, one thread | {loader:,.0f} images/s |")
    print(f"| loader, streamed shards of PNG | {stream:,.0f} images/s |")
    print(f"| a checkpoint of width {LARGE.width} | {size / 1e6:.0f} MB, {seconds:.2f} s |")
    for network in NETWORKS:
        print_tables(counts, network, options.gpu_share)
    print_limits(counts, options.gpu_share, loader, stream, seconds)


# What can be counted.


class _Tally(TorchDispatchMode):
    """Counts what PyTorch is asked to do, about as many kernels, and their arithmetic.

    Not by `FlopCounterMode`, whose hooks on modules do not go with a double backward; by its table.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self.flops = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.operations += 1
        result = func(*args, **(kwargs or {}))
        arithmetic = flop_registry.get(func._overloadpacket)  # type: ignore[attr-defined]
        if arithmetic is not None:
            self.flops += arithmetic(*args, **(kwargs or {}), out_val=result)
        return result


def count(config: TrainConfig) -> Counts:
    """Take a step with tensors that have no values."""
    players = Players(*build(config), config, CPU)
    players.noise = None  # type: ignore[assignment]
    fake = FakeTensorMode()
    with FakeCopyMode(fake):
        players.generator, players.critic, players.average = copy.deepcopy(
            (players.generator, players.critic, players.average)
        )
    with fake:
        players.generator_optimizer = make_optimizer(players.generator, config)
        players.critic_optimizer = make_optimizer(players.critic, config)
        shape = (config.batch_size, config.channels, config.size, config.size)
        steps = train_steps(players, lambda: torch.empty(shape), config)
        next(steps)  # makes the optimisers' state
        with _Tally() as tally:
            next(steps)
    norms = [
        module
        for module in players.generator.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    return Counts(
        flops=tally.flops,
        operations=tally.operations,
        critic_bytes=4 * sum(weight.numel() for weight in players.critic.parameters()),
        generator_bytes=4 * sum(weight.numel() for weight in players.generator.parameters()),
        norm_bytes=[2 * 8 * norm.num_features for norm in norms],
        critic_updates=config.n_critic,
    )


def print_counts(counts: Counts) -> None:
    """Print what a step is."""
    print(
        f"\nA step at {LARGE.size}x{LARGE.size}, width {LARGE.width}, {LARGE.batch_size} pictures"
        f" in a process, n_critic {LARGE.n_critic}\n\n| counted | |\n| --- | --- |"
        f"\n| arithmetic | {counts.flops / 1e12:.2f} TFLOP |"
        f"\n| operations of PyTorch | {counts.operations:,} |"
        f"\n| gradients of a critic update | {counts.critic_bytes / 1e6:.1f} MB |"
        f"\n| gradients of a generator update | {counts.generator_bytes / 1e6:.1f} MB |"
        f"\n| all-reduces in a step | {len(counts.all_reduces)}, of which"
        f" {len(counts.all_reduces) - counts.critic_updates - 1} are of batch norms |"
        f"\n| bytes all-reduced in a step | {sum(counts.all_reduces) / 1e6:.1f} MB |"
    )


# What two processes on this machine can measure.


def run_pair() -> Mapping[str, Any]:
    """Start this script in two processes under torchrun; gives what the first one found."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr",
            "127.0.0.1", "--nproc-per-node", "2", "-m", "benchmarks.scaling", "--pair", str(found),
        ]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
        begin = time.time()
        subprocess.run(command, check=True, env=environment)
        result: dict[str, Any] = json.loads(found.read_text())
    result["start"] = result["connected"] - begin
    return result


def measure_pair(found: Path, rounds: int = 7) -> None:
    """In each of two processes: all-reduces of several sizes, and steps without and with them."""
    torch.set_num_threads(1)
    with join(120) as world:
        world.connect(CPU)
        connected = time.time()
        small = count(SMALL)
        sizes = [2**10, 2**14, 2**18, 2**22, small.critic_bytes, small.generator_bytes, 2**26]
        times = {size: time_all_reduce(world, size) for size in sorted(sizes)}
        norms = {size: time_all_reduce(world, size) for size in set(small.norm_bytes)}
        # Both at work in either case, since they share caches and memory. In turns.
        apart, together = trainer(SMALL, ALONE), trainer(SMALL, world)
        seconds: dict[str, list[float]] = {"apart": [], "together": []}
        for _ in range(rounds):
            seconds["apart"].append(time_of(apart))
            world.any(False)
            seconds["together"].append(time_of(together))
        if world.leads:
            all_reduced = small.all_reduces
            known = {**times, **norms}
            report = {
                "connected": connected,
                "all_reduce": times,
                "apart": seconds["apart"],
                "together": seconds["together"],
                "foretold": statistics.median(seconds["apart"])
                + sum(known[size] for size in all_reduced),
                "all_reduces": len(all_reduced),
                "bytes": sum(all_reduced),
            }
            found.write_text(json.dumps(report))


def trainer(config: TrainConfig, world: World) -> Callable[[], object]:
    """Gives a function that takes a step."""
    if world.size > 1:
        config = dataclasses.replace(config, batch_size=config.batch_size * world.size)
    players = Players(*build(config), config, CPU, world)
    shape = (config.batch_size // world.size, config.channels, config.size, config.size)
    real = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    steps = train_steps(players, lambda: real, config)
    next(steps)
    return lambda: next(steps)


def time_of(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def time_all_reduce(world: World, size: int, rounds: int = 15) -> float:
    """The median seconds of averaging so many bytes, copies into and out of the buffer included."""
    tensors = [torch.ones(max(1, size // 4))]
    world.average(tensors)
    return statistics.median(time_of(lambda: world.average(tensors)) for _ in range(rounds))


def print_pair(found: Mapping[str, Any]) -> None:
    """Print what two processes measured, and whether the model would have known."""
    print("\nTwo processes on this machine, gloo, one thread each\n")
    print("| all-reduce of | ms | MB/s |\n| --- | --- | --- |")
    for size, seconds in found["all_reduce"].items():
        rate = int(size) / seconds / 1e6
        print(f"| {int(size) / 1e6:,.3f} MB | {seconds * 1e3:.2f} | {rate:,.0f} |")
    apart, together = found["apart"], found["together"]
    print(
        f"\nA step at {SMALL.size}x{SMALL.size}, width {SMALL.width}, {SMALL.batch_size} pictures"
        f" in each process, n_critic {SMALL.n_critic}: {found['all_reduces']} all-reduces of"
        f" {found['bytes'] / 1e6:.1f} MB in all\n\n| | ms, median | least | most |"
        "\n| --- | --- | --- | --- |"
    )
    for name, seconds in (("each by itself", apart), ("together", together)):
        low, high = min(seconds) * 1e3, max(seconds) * 1e3
        print(f"| {name} | {statistics.median(seconds) * 1e3:.0f} | {low:.0f} | {high:.0f} |")
    print(
        f"| together, foretold: by itself and its all-reduces | {found['foretold'] * 1e3:.0f} |||"
    )
    print(f"\nFrom the command to the first all-reduce: {found['start']:.1f} s")


# What else a run does.


def loader_rates() -> tuple[float, float]:
    """Images per second of the loader: from memory, and streamed."""
    pixels = np.zeros((20_000, LARGE.size, LARGE.size, 3), np.uint8)
    batches = Batches(pixels, LARGE.batch_size, seed=0, device=CPU)
    batches.next()
    cached = time_of(lambda: [batches.next() for _ in range(200)])
    with tempfile.TemporaryDirectory() as folder:
        transform = Transform(size=LARGE.size, channels=3)
        written = write_shards(GlyphSource(2000), Path(folder), shard_size=500, transform=transform)
        data = load_data(open_data(written.pattern), size=LARGE.size, channels=3)
        streamed = data.batches(LARGE.batch_size, seed=0, device=CPU)
        streamed.next()
        seconds = time_of(lambda: [streamed.next() for _ in range(25)])
    return 200 * LARGE.batch_size / cached, 25 * LARGE.batch_size / seconds


def checkpoint_cost() -> tuple[float, int]:
    """Seconds and bytes of saving LARGE's networks with their optimisers' state."""
    players = Players(*build(LARGE), LARGE, CPU)
    for network, optimizer in (
        (players.generator, players.generator_optimizer),
        (players.critic, players.critic_optimizer),
    ):
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert gradients(players.critic)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.pt"
        checkpoint = Checkpoint.of(players, LARGE, 1, 0, "")
        return time_of(lambda: checkpoint.save(path)), path.stat().st_size


# The model.


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
    """A step of `batch` pictures on `gpus` GPUs, `share` of PEAK reached."""
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
        # One GPU by itself repeats a recorded step (--capture); several launch each operation.
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


PLACES = {
    "1 GPU": 1, "8 GPUs": 8, "8 machines": 8 * GPUS_PER_MACHINE,
    "1,000 machines": 1000 * GPUS_PER_MACHINE,
}  # fmt: skip


def print_tables(counts: Counts, network: Network, share: float) -> None:
    """Print both ways to use more GPUs."""
    print(
        f"\n{network.name} (assumed, as are the GPUs: {share:.0%} of {PEAK / 1e12:.0f} TFLOP/s,"
        f" {LAUNCH * 1e6:.0f} us for an operation)"
    )
    one = foretell(counts, network, 1, LARGE.batch_size, share)
    rate = one.batch / one.seconds
    print(f"\n{LARGE.batch_size} pictures on each GPU, the batch grows:\n")
    _print_places([foretell(counts, network, n, n * LARGE.batch_size, share)
                   for n in PLACES.values()], rate)  # fmt: skip
    print(f"\nA batch of {SHARED_BATCH}, shared out:\n")
    whole = foretell(counts, network, 1, SHARED_BATCH, share)
    _print_places([foretell(counts, network, n, SHARED_BATCH, share)
                   for n in PLACES.values() if SHARED_BATCH % n == 0],
                  whole.batch / whole.seconds)  # fmt: skip


def _print_places(rows: list[Foretold], rate_of_one: float) -> None:
    names = {gpus: name for name, gpus in PLACES.items()}
    print("| | batch | compute, ms | gradients | norms | draws | step, ms | real images/s | of |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        parts = (row.compute, row.gradients, row.norms, row.draws, row.seconds)
        shown = " | ".join(f"{part * 1e3:.2f}" for part in parts)
        rate = row.batch / row.seconds
        share = rate / rate_of_one / row.gpus
        seen = rate * LARGE.n_critic
        print(f"| {names[row.gpus]} | {row.batch:,} | {shown} | {seen:,.0f} | {share:.0%} |")


def print_limits(
    counts: Counts, share: float, loader: float, stream: float, checkpoint: float
) -> None:
    """Print where each part stops paying."""
    print("\n| limits | |\n| --- | --- |")
    for network in NETWORKS:
        for batch in (SHARED_BATCH, 8 * SHARED_BATCH):
            one = foretell(counts, network, 1, batch, share).seconds
            fit = [
                n for n in (2**k for k in range(20)) if batch % n == 0
                and one / foretell(counts, network, n, batch, share).seconds / n >= 0.5
            ]  # fmt: skip
            print(
                f"| half of each GPU's rate is left: batch {batch:,}, shared out, {network.name}"
                f" | {max(fit):,} GPUs |"
            )
    alone = foretell(counts, NETWORKS[0], 1, LARGE.batch_size, share)
    need = LARGE.n_critic * alone.batch / alone.seconds
    print(f"| a GPU by itself asks its loader for | {need:,.0f} images/s |")
    print(f"| the cache's loader, in one process, gives | {loader / need:.1f} times that |")
    cores = usable_cores()
    print(f"| streamed shards of PNG, on {cores} cores, feed | {stream / need:.2f} GPUs |")
    interval = LARGE.checkpoint_every * alone.seconds
    print(
        f"| a checkpoint each {LARGE.checkpoint_every} steps of a GPU by itself ({interval:.1f} s)"
        f" | {checkpoint / (interval + checkpoint):.1%} of the time |"
    )
    for machines in (8, 1000):
        a_day = machines * FAILURES_PER_MACHINE_DAY
        print(f"| {machines:,} machines fail (assumed) | {a_day:.2g} times a day |")


if __name__ == "__main__":
    main()
