"""Forms of a stride-2 transposed convolution, layer by layer of a 64x64 generator.

    python -m benchmarks.lowering [--threads N] [--seconds 1] [--batch-sizes 1,8,64]

Compares the forms that `wgan export --target cpu` uses with others that were tried and rejected,
Winograd's among them. The last column is the largest difference from the operator.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from benchmarks.inference_cpu import onnx_session
from benchmarks.machine import describe_machine
from wgan.export.lowering.conv_transpose import Phases, axis_phases, join, lower, phase_kernel
from wgan.export.lowering.graph import AnyArray, Graph
from wgan.host import usable_cores
from wgan.runtime.benchmark import measure

LAYERS = ((1024, 512, 4), (512, 256, 8), (256, 128, 16), (128, 3, 32))  # inputs, outputs, rows
STRIDE_2: dict[str, Any] = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}

PHASES = axis_phases(kernel=4, pad=1, size=2, output_size=4) or []
"""The taps of both phases; they do not depend on the size."""

Form = Callable[[AnyArray, AnyArray, int], ModelProto]
"""Weight, bias and rows of the input -> a model from `x` to `y`."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each form and batch size")
    parser.add_argument("--batch-sizes", default="1,8,64")
    options = parser.parse_args()
    sizes = [int(size) for size in options.batch_sizes.split(",")]
    print(f"    {describe_machine('onnxruntime')}, {options.threads} threads\n")
    heads = [f"ms, batch {size}" for size in sizes]
    print(f"| layer | form | {' | '.join(heads)} | GFLOP/s | differs by |")
    print(f"| --- | --- |{' --- |' * (len(sizes) + 2)}")
    for inputs, outputs, rows in LAYERS:
        measure_layer(inputs, outputs, rows, sizes, options.threads, options.seconds)


def measure_layer(
    inputs: int, outputs: int, rows: int, sizes: Sequence[int], threads: int, seconds: float
) -> None:
    """Print a line for each form of one layer."""
    random = np.random.RandomState(0)
    weight = random.standard_normal((inputs, outputs, 4, 4)) / np.sqrt(4 * inputs)
    bias = random.standard_normal(outputs)
    sessions = {
        name: onnx_session(form(weight.astype(np.float32), bias.astype(np.float32), rows), threads)
        for name, form in FORMS.items()
    }
    x = np.maximum(random.standard_normal((max(sizes), inputs, rows, rows)), 0).astype(np.float32)
    expected = sessions["operator"].run(None, {"x": x[:2]})[0]

    def run_of(session: Any) -> Callable[[Any], object]:
        return lambda drawn: session.run(None, {"x": x[: len(drawn)]})

    timings = list(measure({name: run_of(s) for name, s in sessions.items()}, 1, sizes, seconds))
    work = 2 * weight.size * rows * rows / 1e9
    for name, session in sessions.items():
        mine = [timing for timing in timings if timing.engine == name]
        off = np.abs(session.run(None, {"x": x[:2]})[0] - expected).max()
        rate = work * mine[-1].images_per_second
        cells = " | ".join(f"{timing.median_ms:.2f}" for timing in mine)
        shape = f"{inputs} to {outputs}, {rows}x{rows}"
        print(f"| {shape} | {name} | {cells} | {rate:.0f} | {off:.0e} |", flush=True)


def operator(weight: AnyArray, bias: AnyArray, rows: int) -> ModelProto:
    """The transposed convolution and its ReLU."""
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["v"], **STRIDE_2),
        helper.make_node("Relu", ["v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(weight), rows, rows])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("nchw"))],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def lowered(weight: AnyArray, bias: AnyArray, rows: int) -> ModelProto:
    """The four phases, or the products of the taps where there are few channels."""
    return lower(operator(weight, bias, rows))


def depth_to_space(weight: AnyArray, bias: AnyArray, rows: int) -> ModelProto:
    """One 3x3 convolution with four times the channels, most of whose taps are zero."""
    graph = Graph(operator(weight, bias, rows))
    inputs, outputs = weight.shape[:2]
    kernel = np.zeros((2, 2, outputs, inputs, 3, 3), np.float32)
    for row, column in itertools.product((0, 1), repeat=2):
        kernel[row, column, :, :, row : row + 2, column : column + 2] = phase_kernel(
            weight, PHASES[row], PHASES[column]
        )
    made = graph.add(
        "Conv", "x", graph.constant(kernel.reshape(-1, inputs, 3, 3), "w"),
        graph.constant(np.tile(bias, 4), "b"), pads=[1, 1, 1, 1],
    )  # fmt: skip
    made = graph.add("DepthToSpace", made, blocksize=2, mode="DCR")
    graph.add("Relu", made, output="y")
    return graph.to_model()


def one_convolution(weight: AnyArray, bias: AnyArray, rows: int) -> ModelProto:
    """One 2x2 convolution of all windows; each phase takes all except one row and one column."""
    graph = Graph(operator(weight, bias, rows))
    inputs = len(weight)
    # Window j holds the rows j - 1 and j: of the odd row above them and of the even one below.
    kernel = np.stack(
        [
            phase_kernel(weight, PHASES[1 - row], PHASES[1 - column])
            for row in (0, 1)
            for column in (0, 1)
        ]
    )
    made = graph.add(
        "Conv", "x", graph.constant(kernel.reshape(-1, inputs, 2, 2), "w"),
        graph.constant(np.tile(bias, 4), "b"), pads=[1, 1, 1, 1],
    )  # fmt: skip
    made = graph.add("DepthToSpace", made, blocksize=2, mode="DCR")
    ends = graph.integers(2 * rows + 1, 2 * rows + 1)
    cut = graph.add("Slice", made, graph.integers(1, 1), ends, graph.integers(2, 3))
    graph.add("Relu", cut, output="y")
    return graph.to_model()


def matrix_products(weight: AnyArray, bias: AnyArray, rows: int) -> ModelProto:
    """Four matrix products of gathered windows (im2col), channels last."""
    graph = Graph(operator(weight, bias, rows))
    outputs = weight.shape[1]
    last = graph.add("Transpose", "x", perm=[0, 2, 3, 1])
    padded = graph.add("Pad", last, graph.integers(0, 1, 1, 0, 0, 1, 1, 0))
    shifted = {
        (i, j): graph.add("Slice", padded, graph.integers(i, j),
                          graph.integers(i + rows, j + rows), graph.integers(1, 2))
        for i, j in itertools.product(range(3), repeat=2)
    }  # fmt: skip
    parts = []
    for row in (0, 1):
        line = []
        for column in (0, 1):
            parts_of = [
                shifted[row + i, column + j] for i, j in itertools.product((0, 1), repeat=2)
            ]
            window = graph.add("Concat", *parts_of, axis=3)
            taps = phase_kernel(weight, PHASES[row], PHASES[column])
            kernel = taps.transpose(2, 3, 1, 0).reshape(-1, outputs)
            made = graph.add("MatMul", window, graph.constant(kernel, "w"))
            made = graph.add("Relu", graph.add("Add", made, graph.constant(bias, "b")))
            line.append(graph.add("Transpose", made, perm=[0, 3, 1, 2]))
        parts.append(line)
    (a, b), (c, d) = parts
    join(graph, Phases(((a, b), (c, d)), outputs, rows, rows, (2 * rows, 2 * rows)), output="y")
    return graph.to_model()


def winograd_products(tile: int) -> Form:
    """Winograd's F(tile x tile, 2 x 2) with its transforms as matrix products: seven operators."""
    return lambda weight, bias, rows: _winograd_products(weight, bias, rows, tile)


def _winograd_products(weight: AnyArray, bias: AnyArray, rows: int, tile: int) -> ModelProto:
    graph = Graph(operator(weight, bias, rows))
    inputs, outputs = weight.shape[:2]
    into, out, kernel = _transforms(rows, tile)
    points, kinds = tile + 1, len(into)
    both = np.stack([weight[:, :, PHASES[phase].taps] for phase in (0, 1)])  # phase, c, o, 2, 4
    both = np.stack([both[..., PHASES[phase].taps] for phase in (0, 1)], axis=1)
    factors = np.einsum("abioxy,kx,ly->akblio", both.astype(np.float64), kernel, kernel)
    factors = factors.reshape(2 * points, 1, 2 * points, inputs, outputs)

    def constant(value: AnyArray) -> str:
        return graph.constant(value.astype(np.float32), "w")

    made = graph.add("Transpose", "x", perm=[2, 3, 0, 1])  # (rows, columns, n, inputs)
    made = graph.add("MatMul", constant(into), graph.add("Reshape", made, graph.integers(rows, -1)))
    made = graph.add("Reshape", made, graph.integers(kinds, rows, -1))
    made = graph.add("MatMul", constant(into), made)
    shape = graph.integers(2 * points, kinds // (2 * points), 2 * points, -1, inputs)
    made = graph.add("MatMul", graph.add("Reshape", made, shape), constant(factors))
    made = graph.add("Reshape", made, graph.integers(kinds, kinds, -1))
    made = graph.add("MatMul", constant(out), made)
    made = graph.add("Reshape", made, graph.integers(kinds, -1))
    made = graph.add("MatMul", constant(out), made)
    made = graph.add("Reshape", made, graph.integers(2 * rows, 2 * rows, -1, outputs))
    made = graph.add("Relu", graph.add("Add", made, graph.constant(bias, "b")))
    graph.add("Transpose", made, perm=[2, 3, 0, 1], output="y")
    return graph.to_model()


def _transforms(rows: int, tile: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Rows of the input -> kinds, kinds -> rows of the output, taps -> points (Toom and Cook)."""
    points = np.array([0.0, 1.0, -1.0, 0.5][:tile])
    n, tiles = tile + 1, rows // tile

    def at_points(degree: int) -> AnyArray:
        values = np.vander(points, degree + 1, increasing=True)
        return np.vstack([values, np.eye(degree + 1)[-1]])  # and at infinity

    kernel, sums = at_points(1), at_points(tile - 1).T
    differences = np.linalg.inv(at_points(tile)).T
    scale = np.abs(differences).max(axis=1, keepdims=True)
    differences, kernel = differences / scale, kernel * scale
    into, out = np.zeros((2, n, tiles, rows)), np.zeros((2 * rows, 2, n, tiles))
    for phase, t in itertools.product((0, 1), range(tiles)):
        for d in range(n):
            if 0 <= tile * t + d - 1 + phase < rows:
                into[phase, :, t, tile * t + d - 1 + phase] = differences[:, d]
        for j in range(tile):
            out[2 * (tile * t + j) + phase, phase, :, t] = sums[j]
    return into.reshape(-1, rows), out.reshape(2 * rows, -1), kernel


FORMS: dict[str, Form] = {
    "operator": operator,
    "phases, or taps": lowered,
    "one 3x3 convolution, DepthToSpace": depth_to_space,
    "one 2x2 convolution, sliced": one_convolution,
    "matrix products of windows": matrix_products,
    "winograd as matrix products, 2x2": winograd_products(2),
    "winograd as matrix products, 4x4": winograd_products(4),
}


if __name__ == "__main__":
    main()
