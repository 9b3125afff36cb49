"""Measurements on one machine: two ranks, the loader, a checkpoint."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.scaling_model import LARGE, count
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import load_data, open_data
from wgan.training.data.batches import Batches
from wgan.training.data.shard_writer import write_shards
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.data.transform import Transform
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, gradients, join
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")

SMALL = TrainConfig(size=64, width=16, batch_size=16)
"""Small enough for a few CPU cores; 16 images per rank."""


def run_pair() -> Mapping[str, Any]:
    """Run `measure_pair` in two ranks under torchrun and return the results of rank 0."""
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
    """Measure all-reduces of several sizes, and steps with and without them, in each rank."""
    torch.set_num_threads(1)
    with join(120) as group:
        group.connect(CPU)
        connected = time.time()
        small = count(SMALL)
        sizes = [2**10, 2**14, 2**18, 2**22, small.critic_bytes, small.generator_bytes, 2**26]
        times = {size: time_all_reduce(group, size) for size in sorted(sizes)}
        norms = {size: time_all_reduce(group, size) for size in set(small.norm_bytes)}
        # Both ranks work in either case, because they share caches and memory bandwidth. In turns.
        apart, together = trainer(SMALL, SINGLE_PROCESS), trainer(SMALL, group)
        seconds: dict[str, list[float]] = {"apart": [], "together": []}
        for _ in range(rounds):
            seconds["apart"].append(time_of(apart))
            group.any(False)
            seconds["together"].append(time_of(together))
        if group.is_main:
            all_reduces = small.all_reduces
            known = {**times, **norms}
            report = {
                "connected": connected,
                "all_reduce": times,
                "apart": seconds["apart"],
                "together": seconds["together"],
                "predicted": statistics.median(seconds["apart"])
                + sum(known[size] for size in all_reduces),
                "all_reduces": len(all_reduces),
                "bytes": sum(all_reduces),
            }
            found.write_text(json.dumps(report))


def trainer(config: TrainConfig, group: ProcessGroup) -> Callable[[], object]:
    """Return a function that trains one step."""
    if group.size > 1:
        config = dataclasses.replace(config, batch_size=config.batch_size * group.size)
    state = TrainState(*build(config), config, CPU, group)
    shape = (config.batch_size // group.size, config.channels, config.height, config.image_width)
    real = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    steps = train_steps(state, lambda: real, config)
    next(steps)
    return lambda: next(steps)


def time_of(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def time_all_reduce(group: ProcessGroup, size: int, rounds: int = 15) -> float:
    """Return the median seconds of averaging `size` bytes, including copies to the buffer."""
    tensors = [torch.ones(max(1, size // 4))]
    group.average(tensors)
    return statistics.median(time_of(lambda: group.average(tensors)) for _ in range(rounds))


def loader_rates() -> tuple[float, float]:
    """Return the loader's images per second, from memory and streamed."""
    pixels = np.zeros((20_000, *LARGE.image_shape), np.uint8)
    batches = Batches(pixels, LARGE.batch_size, seed=0, device=CPU)
    batches.next()
    cached = time_of(lambda: [batches.next() for _ in range(200)])
    with tempfile.TemporaryDirectory() as folder:
        transform = Transform(size=LARGE.size, channels=3)
        written = write_shards(GlyphSource(2000), Path(folder), shard_size=500, transform=transform)
        data = load_data(open_data(written.pattern), Transform(size=LARGE.size, channels=3))
        streamed = data.batches(LARGE.batch_size, seed=0, device=CPU)
        streamed.next()
        seconds = time_of(lambda: [streamed.next() for _ in range(25)])
    return 200 * LARGE.batch_size / cached, 25 * LARGE.batch_size / seconds


def checkpoint_cost() -> tuple[float, int]:
    """Return the seconds and bytes of a checkpoint of LARGE with its optimiser state."""
    state = TrainState(*build(LARGE), LARGE, CPU)
    for network, optimizer in (
        (state.generator, state.generator_optimizer),
        (state.critic, state.critic_optimizer),
    ):
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert gradients(state.critic)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "step.pt"
        checkpoint = Checkpoint.of(state, LARGE, 1, 0, "")
        return time_of(lambda: checkpoint.save(path)), path.stat().st_size
