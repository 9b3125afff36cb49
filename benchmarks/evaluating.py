"""Time and memory of `wgan eval`, by the number of generated images.

    python -m benchmarks.evaluating [--images 2000 10000] [--rounds 3]
        [--write docs/performance.md]

The built-in model is compared with the built-in data, 20,000 images of 32x32, in the features of a
small convolutional network with random weights. Each round runs every command once, from Python's
start to its exit: with new data the cache is empty, with known data it holds images and statistics.
"""

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cold_start import WGAN
from benchmarks.machine import describe_machine
from benchmarks.pages import write_between
from benchmarks.sampling import run_apart
from wgan.runtime.builtin import builtin_model

MARK = "<!-- benchmarks/evaluating.py -->"
CHANNELS = (1, 32, 64, 128, 256)
"""Channels of the feature network, each layer at half the resolution of the one before."""

Measured = tuple[float, float]
"""Seconds, and the peak in MiB."""


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="the page to write the table to")
    options = parser.parse_args()
    lines = [describe_machine("torch", "onnxruntime", "numpy", "scipy"), ""]
    with tempfile.TemporaryDirectory() as name:
        lines += table(measure(Path(name), options.images, options.rounds))
    lines[0] = f"    {lines[0]}"
    print("\n".join(lines))
    if options.write is not None:
        write_between(options.write, MARK, lines)


def measure(
    work: Path, images: Sequence[int], rounds: int
) -> dict[tuple[int, str], list[Measured]]:
    """Run `wgan eval` with each number of images, with new and with known data."""
    onnx.save(feature_network(), work / "features.onnx")
    found: dict[tuple[int, str], list[Measured]] = {}
    for round_ in range(rounds):
        for n in images:
            for data in ("new", "known"):
                command = (
                    *(*WGAN, "eval", str(builtin_model()), "--data", "glyphs", "--json"),
                    *("--features", "features.onnx", "--n", str(n), "--device", "cpu"),
                    *("--cache", f"cache-{round_}-{n}"),
                )
                found.setdefault((n, data), []).append(run_apart(command, work))
    return found


def feature_network() -> onnx.ModelProto:
    """Grey images `[n, 1, 32, 32]` -> vectors `[n, 256]`."""
    random = np.random.RandomState(0)
    weights: dict[str, np.ndarray[Any, Any]] = {}
    nodes, value = [], "image"
    for k, (old, new) in enumerate(itertools.pairwise(CHANNELS)):
        drawn = random.standard_normal((new, old, 3, 3)) * np.sqrt(2 / (9 * old))
        weights[f"weight{k}"] = drawn.astype(np.float32)
        nodes += [
            helper.make_node(
                "Conv", [value, f"weight{k}"], [f"maps{k}"], strides=[2, 2], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", [f"maps{k}"], [f"active{k}"]),
        ]
        value = f"active{k}"
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", CHANNELS[-1]])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def table(found: dict[tuple[int, str], list[Measured]]) -> Iterator[str]:
    """Yield a row for each number of images and state of the cache."""
    yield "| images generated | data | seconds, median | least | most | peak MiB |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for (n, data), runs in found.items():
        seconds, peaks = zip(*runs, strict=True)
        yield (
            f"| {n:,} | {data} | {statistics.median(seconds):.1f} | {min(seconds):.1f}"
            f" | {max(seconds):.1f} | {max(peaks):.0f} |"
        )


if __name__ == "__main__":
    main()
