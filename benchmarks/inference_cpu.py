"""Images per second on the CPU: PyTorch, ONNX Runtime, OpenVINO, and wgan's exports.

    python -m benchmarks.inference_cpu [--threads N] [--seconds 2] [--write docs/performance.md]

All engines run the same latents with the same number of threads, in turns. The plain ONNX file is
what `torch.onnx.export` gives, with batch norm folded. Weights are new: their values do not change
how long a run takes. ONNX Runtime's threads stop spinning when a run ends, so that none takes a
core from the next engine. The rows in bf16 are faster only where the processor multiplies in
bfloat16 (AVX512-BF16, AMX), and draw slightly other images.

OpenVINO takes part if it is installed: pip install 'wgan[bench]'.
"""

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.pages import printed, write_between
from wgan.export.config import TOLERANCES
from wgan.export.formats.onnx import to_onnx
from wgan.export.formats.torchscript import load_torchscript, to_torchscript
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.float16 import to_fp16
from wgan.export.lowering.sensitivity import quantize
from wgan.host import usable_cores
from wgan.latents import Latents
from wgan.runtime.benchmark import EngineFn, Timing, measure
from wgan.training.config import TrainConfig
from wgan.training.networks import build

LATENT_DIM = 128
SHAPES = ((64, 64), (32, 32))  # size, width
BATCH_SIZES = (1, 8, 64)
PLAIN = "plain ONNX, ONNX Runtime"
MATRIX = 2048
MARK = "<!-- benchmarks/inference_cpu.py -->"


def main() -> None:
    """Measure, print, and write the page of --write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each engine and batch size")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lines = list(printed(report(options.threads, options.seconds)))
    if options.write is not None:
        write_between(options.write, MARK, lines)


def report(threads: int, seconds: float) -> Iterator[str]:
    """Yield the lines of the page."""
    packages = ("torch", "onnxruntime", "openvino")
    yield f"    {describe_machine(*packages)}, {threads} threads"
    yield f"    float32 matrix products: {matrix_rate(threads):.0f} GFLOP/s"
    for size, width in SHAPES:
        generator = make_generator(size, width)
        engines = make_engines(generator, threads)
        timings = list(measure(engines, LATENT_DIM, BATCH_SIZES, seconds))
        work = 2 * multiplications(generator) / 1e9
        yield ""
        yield f"{size}x{size}, width {width}, {work:.2f} GFLOP an image:"
        yield ""
        yield from table(timings, BATCH_SIZES)


def table(timings: list[Timing], batch_sizes: Sequence[int]) -> Iterator[str]:
    """Yield a row for each engine, with three columns for each batch size."""
    by_engine: dict[str, dict[int, Timing]] = {}
    for timing in timings:
        by_engine.setdefault(timing.engine, {})[timing.batch_size] = timing
    yield (
        "| images/s | "
        + " | ".join(f"batch {n} | middle half | times plain" for n in batch_sizes)
        + " |"
    )
    yield "| --- |" + " --- |" * (3 * len(batch_sizes))
    for engine, found in by_engine.items():
        cells = []
        for n in batch_sizes:
            timing, plain = found[n], by_engine[PLAIN][n]
            low, high = timing.spread_ms
            cells += [
                f"{timing.images_per_second:,.0f}",
                f"{1000 * n / high:,.0f} to {1000 * n / low:,.0f}",
                f"{plain.median_ms / timing.median_ms:.2f}",
            ]
        yield f"| {engine} | " + " | ".join(cells) + " |"


def make_generator(size: int, width: int) -> nn.Module:
    """Return a generator with batch norm statistics of some batches."""
    generator, _ = build(TrainConfig(arch="dcgan", size=size, width=width, latent_dim=LATENT_DIM))
    with torch.no_grad():
        for _ in range(10):
            generator(torch.randn(16, LATENT_DIM))
    return generator.eval().requires_grad_(False)


def make_engines(generator: nn.Module, threads: int) -> dict[str, EngineFn]:
    """Return the engines by their names in the table."""
    plain = to_onnx(generator, LATENT_DIM)
    lowered = lower(plain)
    engines: dict[str, EngineFn] = {
        "PyTorch, eager": run_module(generator),
        "PyTorch, channels last": run_module(channels_last(generator)),
        "PyTorch, channels last, bf16": run_in_bf16(channels_last(generator)),
        "PyTorch, torch.compile": run_module(torch.compile(generator, dynamic=False)),
        "TorchScript, frozen": run_module(
            load_torchscript(to_torchscript(generator, LATENT_DIM), frozen=True)
        ),
        PLAIN: run_onnx(plain, threads),
    }
    quantized = quantize(lower(plain, eight_bits=True), TOLERANCES["int8"].psnr).model
    engines |= {
        "wgan, --target cpu": run_onnx(lowered, threads),
        "wgan, --precision int8": run_onnx(quantized, threads),
        "wgan, --precision fp16": run_onnx(to_fp16(plain), threads),
    }
    in_openvino = {
        "plain ONNX, OpenVINO": (plain, "f32"),
        "plain ONNX, OpenVINO, bf16": (plain, "bf16"),
        "wgan, --target cpu, OpenVINO": (lowered, "f32"),
        "wgan, --target cpu, OpenVINO, bf16": (lowered, "bf16"),
        "wgan, --precision int8, OpenVINO": (quantized, "f32"),
    }
    for name, (model, hint) in in_openvino.items():
        openvino = run_openvino(model, threads, hint)
        if openvino is not None:
            engines[name] = openvino
    return engines


def channels_last(generator: nn.Module) -> nn.Module:
    """Return a copy of the generator in channels-last memory format."""
    return copy.deepcopy(generator).to(memory_format=torch.channels_last)


def run_module(module: Callable[[torch.Tensor], torch.Tensor]) -> EngineFn:
    """Run a module of PyTorch without gradients."""

    def run(drawn: Latents) -> object:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own
            return module(torch.from_numpy(drawn))

    return run


def run_in_bf16(module: nn.Module) -> EngineFn:
    """Run a module of PyTorch in bfloat16, as autocast does."""

    def run(drawn: Latents) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return module(torch.from_numpy(drawn))

    return run


def run_onnx(model: ModelProto, threads: int) -> EngineFn:
    """Run a model in ONNX Runtime with its defaults, except for the number of threads."""
    session = onnx_session(model, threads)
    return lambda drawn: session.run(["images"], {"latents": drawn})


def onnx_session(model: ModelProto, threads: int) -> Any:
    """Open a session on the CPU whose threads sleep between runs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    data = model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_openvino(model: ModelProto, threads: int, hint: str) -> EngineFn | None:
    """Run a model in OpenVINO with the same threads, in `hint`; None if it is not installed."""
    try:
        import openvino
    except ModuleNotFoundError:
        return None
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": hint}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda drawn: request.infer({"latents": drawn})["images"]


def multiplications(generator: nn.Module) -> int:
    """Count the multiplications of one image: one for each weight and position."""
    found = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal found
        assert isinstance(module, nn.ConvTranspose2d)
        found += inputs[0][0, 0].numel() * module.weight.numel()

    layers = [layer for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    generator(torch.zeros(1, LATENT_DIM))
    for hook in hooks:
        hook.remove()
    return found


def matrix_rate(threads: int) -> float:
    """GFLOP/s of a large matrix product in ONNX Runtime: the upper limit for convolutions."""
    value = np.random.RandomState(0).standard_normal((MATRIX, MATRIX)).astype(np.float32)
    shape = [MATRIX, MATRIX]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    session = onnx_session(model, threads)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        session.run(None, {"a": value})
        times.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / statistics.median(times) / 1e9


if __name__ == "__main__":
    main()
