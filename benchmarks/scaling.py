"""The cost of training on many GPUs: counts, measurements of two ranks, and a model.

    python -m benchmarks.scaling [--gpu-share 0.25]

Counts the arithmetic, bytes and collectives of a step; measures two ranks over gloo on this machine
and compares the model with them; then prints the model's tables for GPUs, from those counts and
from ASSUMED figures, which were not measured.
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
    Network,
    Prediction,
    count,
    predict,
)
from wgan.host import usable_cores

SHARED_BATCH = 512
"""Fixed total batch of the second table."""

PLACES = {
    "1 GPU": 1, "8 GPUs": 8, "8 machines": 8 * GPUS_PER_MACHINE,
    "1,000 machines": 1000 * GPUS_PER_MACHINE,
}  # fmt: skip


def main() -> None:
    """Count, measure, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--gpu-share", type=float, default=0.25, help="share of PEAK that is reached"
    )
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
    print(f"\n| other costs of a run, measured | {LARGE.size}x{LARGE.size} |\n| --- | --- |")
    print(f"| loader, from the cache, one thread | {loader:,.0f} images/s |")
    print(f"| loader, streamed shards of PNG | {stream:,.0f} images/s |")
    print(f"| a checkpoint of width {LARGE.width} | {size / 1e6:.0f} MB, {seconds:.2f} s |")
    for network in NETWORKS:
        print_tables(counts, network, options.gpu_share)
    print_limits(counts, options.gpu_share, loader, stream, seconds)


def print_counts(counts: Counts) -> None:
    """Print the counts of a step."""
    print(
        f"\nA step of the recipe {LARGE.recipe} at {LARGE.size}x{LARGE.size}, width {LARGE.width},"
        f" {LARGE.batch_size} images per rank, n_critic {LARGE.n_critic}\n"
        "\n| counted | |\n| --- | --- |"
        f"\n| arithmetic | {counts.flops / 1e12:.2f} TFLOP |"
        f"\n| PyTorch operations | {counts.operations:,} |"
        f"\n| gradients of a critic update | {counts.critic_bytes / 1e6:.1f} MB |"
        f"\n| gradients of a generator update | {counts.generator_bytes / 1e6:.1f} MB |"
        f"\n| all-reduces in a step | {len(counts.all_reduces)}, of which"
        f" {len(counts.all_reduces) - counts.critic_updates - 1} are of batch norms |"
        f"\n| bytes all-reduced in a step | {sum(counts.all_reduces) / 1e6:.1f} MB |"
    )


def print_pair(found: Mapping[str, Any]) -> None:
    """Print the measurements of two ranks beside the prediction of the model."""
    print("\nTwo ranks on this machine, gloo, one thread each\n")
    print("| all-reduce of | ms | MB/s |\n| --- | --- | --- |")
    for size, seconds in found["all_reduce"].items():
        rate = int(size) / seconds / 1e6
        print(f"| {int(size) / 1e6:,.3f} MB | {seconds * 1e3:.2f} | {rate:,.0f} |")
    apart, together = found["apart"], found["together"]
    print(
        f"\nA step at {SMALL.size}x{SMALL.size}, width {SMALL.width}, {SMALL.batch_size} images"
        f" per rank, n_critic {SMALL.n_critic}: {found['all_reduces']} all-reduces of"
        f" {found['bytes'] / 1e6:.1f} MB in total\n\n| | ms, median | min | max |"
        "\n| --- | --- | --- | --- |"
    )
    for name, seconds in (("one process each", apart), ("one group of two", together)):
        low, high = min(seconds) * 1e3, max(seconds) * 1e3
        print(f"| {name} | {statistics.median(seconds) * 1e3:.0f} | {low:.0f} | {high:.0f} |")
    print(f"| predicted: compute + all-reduces | {found['predicted'] * 1e3:.0f} |||")
    print(f"\nFrom the command to the first all-reduce: {found['start']:.1f} s")


def print_tables(counts: Counts, network: Network, share: float) -> None:
    """Print the tables for a growing batch and for a fixed batch."""
    print(
        f"\n{network.name} (assumed, as are the GPUs: {share:.0%} of {PEAK / 1e12:.0f} TFLOP/s,"
        f" {LAUNCH * 1e6:.0f} us per operation)"
    )
    one = predict(counts, network, 1, LARGE.batch_size, share)
    rate = one.batch / one.seconds
    print(f"\n{LARGE.batch_size} images per GPU (weak scaling):\n")
    _print_places([predict(counts, network, n, n * LARGE.batch_size, share)
                   for n in PLACES.values()], rate)  # fmt: skip
    print(f"\nA total batch of {SHARED_BATCH} (strong scaling):\n")
    whole = predict(counts, network, 1, SHARED_BATCH, share)
    _print_places([predict(counts, network, n, SHARED_BATCH, share)
                   for n in PLACES.values() if SHARED_BATCH % n == 0],
                  whole.batch / whole.seconds)  # fmt: skip


def _print_places(rows: list[Prediction], rate_of_one: float) -> None:
    names = {gpus: name for name, gpus in PLACES.items()}
    print(
        "| | batch | compute, ms | gradients, ms | norms, ms | latents, ms | step, ms"
        " | real images/s | efficiency |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        parts = (row.compute, row.gradients, row.norms, row.latents, row.seconds)
        shown = " | ".join(f"{part * 1e3:.2f}" for part in parts)
        rate = row.batch / row.seconds
        share = rate / rate_of_one / row.gpus
        seen = rate * LARGE.n_critic
        print(f"| {names[row.gpus]} | {row.batch:,} | {shown} | {seen:,.0f} | {share:.0%} |")


def print_limits(
    counts: Counts, share: float, loader: float, stream: float, checkpoint: float
) -> None:
    """Print the limit that each part sets."""
    print("\n| limits | |\n| --- | --- |")
    for network in NETWORKS:
        for batch in (SHARED_BATCH, 8 * SHARED_BATCH):
            one = predict(counts, network, 1, batch, share).seconds
            fit = [
                n for n in (2**k for k in range(20)) if batch % n == 0
                and one / predict(counts, network, n, batch, share).seconds / n >= 0.5
            ]  # fmt: skip
            print(f"| 50 % efficiency: total batch {batch:,}, {network.name} | {max(fit):,} GPUs |")
    single = predict(counts, NETWORKS[0], 1, LARGE.batch_size, share)
    need = LARGE.n_critic * single.batch / single.seconds
    print(f"| images that a single GPU needs | {need:,.0f} images/s |")
    print(f"| images from the cache, one process | {loader / need:.1f} times that |")
    cores = usable_cores()
    print(f"| GPUs that streamed shards of PNG feed, on {cores} cores | {stream / need:.2f} |")
    interval = LARGE.checkpoint_every * single.seconds
    print(
        f"| a checkpoint every {LARGE.checkpoint_every} steps of a single GPU ({interval:.1f} s)"
        f" | {checkpoint / (interval + checkpoint):.1%} of the time |"
    )
    for machines in (8, 1000):
        a_day = machines * FAILURES_PER_MACHINE_DAY
        print(f"| {machines:,} machines: failures (assumed) | {a_day:.2g} a day |")


if __name__ == "__main__":
    main()
