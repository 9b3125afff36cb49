"""Images per second on an NVIDIA GPU: PyTorch, and each form of wgan's exports in ONNX Runtime.

    python -m benchmarks.inference_cuda [--seconds 2] [--write docs/performance.md]

All draw the same latents in turns, from an array on the host to an array on the host. Files are
opened as `wgan sample` opens them. It tells which graph `--target cuda` should be. It needs
onnxruntime-gpu: pip install 'wgan[gpu]'.
"""

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from onnx import ModelProto
from torch import Tensor, nn

from benchmarks.inference_cpu import (
    LATENT_DIM,
    PLAIN,
    SHAPES,
    channels_last,
    make_generator,
    multiplications,
    table,
)
from benchmarks.machine import describe_machine
from benchmarks.pages import printed, write_between
from wgan.errors import WganError
from wgan.export.formats.onnx import to_onnx
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.float16 import to_fp16
from wgan.latents import Latents
from wgan.runtime import Generator
from wgan.runtime.benchmark import EngineFn, measure

BATCH_SIZES = (1, 8, 64, 256)

ENGINES = 8
"""Number of engines that are compared."""

MARK = "<!-- benchmarks/inference_cuda.py -->"


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="an engine and batch size")
    parser.add_argument(
        "--minutes", type=float, help="in all, besides compiling, instead of --seconds"
    )
    parser.add_argument("--write", type=Path, help="the page whose tables are replaced")
    options = parser.parse_args()
    turns = len(SHAPES) * ENGINES * len(BATCH_SIZES)
    seconds = 60 * options.minutes / turns if options.minutes else options.seconds
    print(f"{turns * seconds / 60:.1f} minutes, besides compiling", file=sys.stderr)
    try:
        lines = list(printed(report(options.device, seconds)))
    except WganError as exc:
        sys.exit(f"Error: {exc}")
    if options.write is not None:
        write_between(options.write, MARK, lines)


def report(device: str, seconds: float) -> Iterator[str]:
    """The lines of the page, as they come."""
    on = (
        f"{torch.cuda.get_device_name()}; "
        if device == "cuda" and torch.cuda.is_available()
        else ""
    )
    yield f"    {on}{describe_machine('torch', 'onnxruntime')}"
    for size, width in SHAPES:
        generator = make_generator(size, width)
        work = 2 * multiplications(generator) / 1e9
        timings = measure(make_engines(generator, device), LATENT_DIM, BATCH_SIZES, seconds)
        yield ""
        yield f"{size}x{size}, width {width}, {work:.2f} GFLOP an image:"
        yield ""
        yield from table(list(timings), BATCH_SIZES)


def make_engines(
    generator: nn.Module, device: str, latent_dim: int = LATENT_DIM
) -> dict[str, EngineFn]:
    """Everything that is compared, by the name in the table.

    Raises:
        DeviceError: ONNX Runtime does not run on the device.
    """
    plain = to_onnx(generator, latent_dim)
    lowered = lower(plain)
    files = {
        PLAIN: run_file(plain, device),  # first: it says what is missing
        "--target cpu": run_file(lowered, device),
        "--precision fp16": run_file(to_fp16(plain), device),
        "--target cpu, in fp16": run_file(to_fp16(lowered), device),
    }
    here = copy.deepcopy(generator).to(device)  # the caller's own stays where it is
    return {
        "PyTorch, eager": run_module(here, device),
        "PyTorch, channels last": run_module(channels_last(here), device),
        "PyTorch, bfloat16": run_module(in_bfloat16(channels_last(here), device), device),
        "PyTorch, torch.compile": run_module(torch.compile(here, dynamic=False), device),
        **files,
    }


def run_file(model: ModelProto, device: str) -> EngineFn:
    """ONNX Runtime, as wgan opens a file."""
    generator = Generator(model.SerializeToString(), device, value_range=(-1.0, 1.0))
    return generator.images


def run_module(module: Callable[[Tensor], Tensor], device: str) -> EngineFn:
    """PyTorch, without gradients."""

    def run(drawn: Latents) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(drawn).to(device)).cpu().numpy()

    return run


def in_bfloat16(module: nn.Module, device: str) -> Callable[[Tensor], Tensor]:
    """A module whose products are taken in bfloat16."""

    def run(latents: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            images: Tensor = module(latents)
        return images.float()

    return run


if __name__ == "__main__":
    main()
