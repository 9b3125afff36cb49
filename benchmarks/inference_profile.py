"""Time per operator of the plain graph and of the lowered graph.

    python -m benchmarks.inference_profile [--threads N] [--batch-sizes 1,64] [--runs 60]

It also measures the two rates that limit them: float32 matrix products, and reading memory, because
a single image reads every weight once. Profiling makes a run a little slower.
"""

import argparse
import json
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
from onnx import ModelProto

from benchmarks.inference_cpu import LATENT_DIM, make_generator, matrix_rate, multiplications
from benchmarks.machine import describe_machine
from wgan.export.formats.onnx import to_onnx
from wgan.export.lowering.conv_transpose import lower
from wgan.host import usable_cores
from wgan.latents import latents_from_seeds

SIZE, WIDTH = 64, 64
SHOWN = 0.01
"""Operators with a smaller share of the time share one row."""

Kind = tuple[str, str]
"""Operator, and shape of its output without the batch."""


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--batch-sizes", default="1,64")
    parser.add_argument("--runs", type=int, default=60)
    options = parser.parse_args()
    generator = make_generator(SIZE, WIDTH)
    plain = to_onnx(generator, LATENT_DIM)
    weights = sum(parameter.nbytes for parameter in generator.parameters())
    work = 2 * multiplications(generator) / 1e9
    print(f"    {describe_machine('onnxruntime')}, {options.threads} threads")
    print(
        f"    generator {SIZE}x{SIZE}, width {WIDTH}: {work:.2f} GFLOP and {weights / 1e6:.0f} MB"
    )
    print(f"    float32 matrix products: {matrix_rate(options.threads):.0f} GFLOP/s")
    print(f"    reading memory: {read_rate(options.threads):.0f} GB/s")
    for batch_size in map(int, options.batch_sizes.split(",")):
        for name, model in (("plain", plain), ("--target cpu", lower(plain))):
            taken = profile(model, options.threads, batch_size, options.runs)
            print(f"\n{name}, batch {batch_size}: {sum(map(sum, taken.values())):.2f} ms\n")
            print("\n".join(table(taken)))


def table(taken: dict[Kind, list[float]]) -> Iterator[str]:
    """Yield a row for each kind of operator, the slowest first."""
    whole = sum(map(sum, taken.values()))
    rows = sorted(taken.items(), key=lambda row: -sum(row[1]))
    shown = [(kind, times) for kind, times in rows if sum(times) >= SHOWN * whole]
    rest = [time for _, times in rows[len(shown) :] for time in times]
    yield "| operator | output | how many | ms |"
    yield "| --- | --- | --- | --- |"
    for (operator, shape), times in shown:
        yield f"| {operator} | {shape} | {len(times)} | {sum(times):.2f} |"
    yield f"| all else | | {len(rest)} | {sum(rest):.2f} |"


def profile(model: ModelProto, threads: int, batch_size: int, runs: int) -> dict[Kind, list[float]]:
    """Milliseconds of each node, by kind: the median of the runs that ONNX Runtime profiles."""
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        data = model.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        drawn = latents_from_seeds(range(batch_size), LATENT_DIM)
        for _ in range(runs):
            session.run(["images"], {"latents": drawn})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
            (shape, *_), *_ = (
                list(output.values()) for output in event["args"]["output_type_shape"]
            )
            kind = event["args"]["op_name"], "x".join(map(str, shape[1:]))
            nodes[event["name"], kind].append(event["dur"] / 1000)
    taken: dict[Kind, list[float]] = defaultdict(list)
    for (_, kind), times in nodes.items():
        taken[kind].append(statistics.median(times))
    return taken


def read_rate(threads: int) -> float:
    """GB/s at which all threads together read memory that is not cached."""
    values = np.ones(2**27, np.float32)
    times = []
    for _ in range(5):
        readers = [
            threading.Thread(target=part.sum) for part in np.array_split(values, threads)
        ]  # numpy releases the interpreter lock while it sums
        start = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        times.append(time.perf_counter() - start)
    return values.nbytes / min(times) / 1e9


if __name__ == "__main__":
    main()
