"""What training on many GPUs would cost: counts, measurements of two processes, and a model.

    python -m benchmarks.scaling [--gpu-share 0.25]

First what can be counted: the arithmetic, bytes and collectives of a step. Then what this machine
can measure with two processes over gloo, and whether the model foretells it. Then the model's
tables for GPUs, from those counts and from ASSUMED figures, which nobody has measured here.
"""

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.scaling_measured import (
    SMALL,
    checkpoint_cost,
    loader_rates,
    measure_pair,
    run_pair,
)
from benchmarks.scaling_model import (
    FAILURES_PER_MACHINE_DAY,
    GPUS_PER_MACHINE,
    LARGE,
    LAUNCH,
    NETWORKS,
    PEAK,
    Counts,
    Foretold,
    Network,
    count,
    foretell,
)
from wgan.host import usable_cores

SHARED_BATCH = 512
"""The batch that is shared out in the second table."""

PLACES = {
    "1 GPU": 1, "8 GPUs": 8, "8 machines": 8 * GPUS_PER_MACHINE,
    "1,000 machines": 1000 * GPUS_PER_MACHINE,
}  # fmt: skip


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


def print_counts(counts: Counts) -> None:
    """Print what a step is."""
    print(
        f"\nA step at {LARGE.size}x{LARGE.size}, width {LARGE.width}, {LARGE.batch_size} images"
        f" in a process, n_critic {LARGE.n_critic}\n\n| counted | |\n| --- | --- |"
        f"\n| arithmetic | {counts.flops / 1e12:.2f} TFLOP |"
        f"\n| operations of PyTorch | {counts.operations:,} |"
        f"\n| gradients of a critic update | {counts.critic_bytes / 1e6:.1f} MB |"
        f"\n| gradients of a generator update | {counts.generator_bytes / 1e6:.1f} MB |"
        f"\n| all-reduces in a step | {len(counts.all_reduces)}, of which"
        f" {len(counts.all_reduces) - counts.critic_updates - 1} are of batch norms |"
        f"\n| bytes all-reduced in a step | {sum(counts.all_reduces) / 1e6:.1f} MB |"
    )


def print_pair(found: Mapping[str, Any]) -> None:
    """Print what two processes measured, and whether the model would have known."""
    print("\nTwo processes on this machine, gloo, one thread each\n")
    print("| all-reduce of | ms | MB/s |\n| --- | --- | --- |")
    for size, seconds in found["all_reduce"].items():
        rate = int(size) / seconds / 1e6
        print(f"| {int(size) / 1e6:,.3f} MB | {seconds * 1e3:.2f} | {rate:,.0f} |")
    apart, together = found["apart"], found["together"]
    print(
        f"\nA step at {SMALL.size}x{SMALL.size}, width {SMALL.width}, {SMALL.batch_size} images"
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


def print_tables(counts: Counts, network: Network, share: float) -> None:
    """Print both ways to use more GPUs."""
    print(
        f"\n{network.name} (assumed, as are the GPUs: {share:.0%} of {PEAK / 1e12:.0f} TFLOP/s,"
        f" {LAUNCH * 1e6:.0f} us for an operation)"
    )
    one = foretell(counts, network, 1, LARGE.batch_size, share)
    rate = one.batch / one.seconds
    print(f"\n{LARGE.batch_size} images on each GPU, the batch grows:\n")
    _print_places([foretell(counts, network, n, n * LARGE.batch_size, share)
                   for n in PLACES.values()], rate)  # fmt: skip
    print(f"\nA batch of {SHARED_BATCH}, shared out:\n")
    whole = foretell(counts, network, 1, SHARED_BATCH, share)
    _print_places([foretell(counts, network, n, SHARED_BATCH, share)
                   for n in PLACES.values() if SHARED_BATCH % n == 0],
                  whole.batch / whole.seconds)  # fmt: skip


def _print_places(rows: list[Foretold], rate_of_one: float) -> None:
    names = {gpus: name for name, gpus in PLACES.items()}
    print(
        "| | batch | compute, ms | gradients | norms | draws | step, ms | real images/s"
        " | of N times 1 GPU |"
    )
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
