"""Cold start: the whole process `wgan sample -n 64 out.png` against minimal scripts.

    python -m benchmarks.cold_start [--size 64] [--width 64] [--rounds 9] [--models FOLDER]

Each round starts every command once, in turn, so that other load affects all of them; the first
round is not counted. Time is wall clock from start to exit, memory the peak resident set of the
process and its children, CPU their user and system time.

The generator is trained for one step only: its images do not matter here.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import describe_machine

ONNX = """
import sys
import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rows = [np.random.RandomState(seed).standard_normal(128) for seed in range(64)]
pixels = session.run(["pixels"], {"latents": np.stack(rows).astype(np.float32)})[0]
n, h, w, c = pixels.shape
grid = pixels.reshape(8, 8, h, w, c).swapaxes(1, 2).reshape(8 * h, 8 * w, c)
Image.fromarray(grid if c == 3 else grid[:, :, 0]).save(sys.argv[2])
"""

TORCHSCRIPT = """
import sys
import numpy as np
import torch
from PIL import Image

module = torch.jit.load(sys.argv[1])
rows = [np.random.RandomState(seed).standard_normal(128) for seed in range(64)]
with torch.inference_mode():
    images = module(torch.from_numpy(np.stack(rows).astype(np.float32))).numpy()
pixels = np.rint((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
n, c, h, w = pixels.shape
grid = pixels.reshape(8, 8, c, h, w).transpose(0, 3, 1, 4, 2).reshape(8 * h, 8 * w, c)
Image.fromarray(grid if c == 3 else grid[:, :, 0]).save(sys.argv[2])
"""

ANY_DIFFERENCE = (
    *("--tolerance-pixels", 255),
    *("--tolerance-mean-pixels", 255),
    *("--tolerance-psnr", 0),
    *("--tolerance-images", 2),
)

WGAN = (sys.executable, "-m", "wgan")


@dataclass
class Measured:
    """Measurements of a command, one per round."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds
    memory: list[float] = field(default_factory=list)  # MiB

    def row(self, name: str) -> str:
        """Format a row of the table."""
        return (
            f"| {name} | {statistics.median(self.seconds):.3f} | {min(self.seconds):.3f} |"
            f" {max(self.seconds):.3f} | {statistics.median(self.cpu):.3f} |"
            f" {max(self.memory):.0f} |"
        )


def main() -> None:
    """Make the models, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--models", type=Path, help="folder that keeps the models for the next time"
    )
    options = parser.parse_args()
    print(describe_machine("onnxruntime", "numpy", "pillow", "torch"))
    print(f"generator {options.size}x{options.size}, width {options.width}; 64 images\n")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        models = options.models or work / "models"
        make_models(models, options.size, options.width)
        report(measure(commands(models, work), work, options.rounds))


def make_models(folder: Path, size: int, width: int) -> None:
    """Train for one step and export, unless the folder has the files."""
    folder.mkdir(parents=True, exist_ok=True)
    exports = {
        "fp32.onnx": (),
        # After one step images are noise, and int8 may miss the tolerance: not measured here.
        "int8.onnx": ("--precision", "int8", *ANY_DIFFERENCE),
        "fp32.ts": ("--format", "torchscript"),
    }
    if all((folder / name).exists() for name in exports):
        return
    settings = ("--size", size, "--width", width, "--batch-size", 8, "--n-critic", 1)
    call(*WGAN, "train", "glyphs", "--run", "run", "--steps", 1, *settings, cwd=folder)
    for name, arguments in exports.items():
        call(*WGAN, "export", "run", *arguments, "-o", name, cwd=folder)


def call(*command: object, cwd: Path) -> None:
    """Run a command without output; stop if it fails."""
    words = [str(part) for part in command]
    quiet = subprocess.DEVNULL
    subprocess.run(words, check=True, stdout=quiet, stderr=quiet, cwd=cwd, env=environment())


def commands(models: Path, work: Path) -> dict[str, list[str]]:
    """Return the commands by name."""
    out = str(work / "out.png")
    sample = [*WGAN, "sample", "-n", "64", "--model"]
    return {
        "python, nothing": [sys.executable, "-c", "pass"],
        "wgan --version": [*WGAN, "--version"],
        "wgan --help": [*WGAN, "--help"],
        "minimal script, ONNX fp32": [sys.executable, "-c", ONNX, str(models / "fp32.onnx"), out],
        "wgan sample, fp32": [*sample, str(models / "fp32.onnx"), out],
        "minimal script, ONNX int8": [sys.executable, "-c", ONNX, str(models / "int8.onnx"), out],
        "wgan sample, int8": [*sample, str(models / "int8.onnx"), out],
        "TorchScript fp32": [sys.executable, "-c", TORCHSCRIPT, str(models / "fp32.ts"), out],
    }


def measure(each: dict[str, list[str]], work: Path, rounds: int) -> dict[str, Measured]:
    """Run each command once per round."""
    measured = {name: Measured() for name in each}
    for number in range(rounds + 1):
        for name, command in each.items():
            seconds, cpu, memory = run_once(command, work)
            if number:  # the first one fills the caches
                measured[name].seconds.append(seconds)
                measured[name].cpu.append(cpu)
                measured[name].memory.append(memory)
    return measured


def run_once(command: Sequence[str], work: Path) -> tuple[float, float, float]:
    """Return seconds, CPU seconds and peak MiB of a command."""
    start = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=work, env=environment(), stdout=quiet, stderr=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def environment() -> dict[str, str]:
    """Return the environment in which commands run this checkout, installed or not."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def report(measured: dict[str, Measured]) -> None:
    """Print the table, and the targets beside the measured values."""
    print("| whole process | seconds, median | least | most | CPU s, median | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, each in measured.items():
        print(each.row(name))
    medians = {name: statistics.median(each.seconds) for name, each in measured.items()}
    fp32, int8 = medians["wgan sample, fp32"], medians["wgan sample, int8"]
    targets = [
        ("to the minimal script, fp32", fp32 / medians["minimal script, ONNX fp32"], "<=", 1.15),
        ("to the minimal script, int8", int8 / medians["minimal script, ONNX int8"], "<=", 1.15),
        ("faster than TorchScript, fp32", medians["TorchScript fp32"] / fp32, ">=", 4.0),
        ("faster than TorchScript, int8", medians["TorchScript fp32"] / int8, ">=", 5.0),
        ("peak MiB of wgan sample, fp32", max(measured["wgan sample, fp32"].memory), "<=", 300.0),
        ("seconds of wgan --help", medians["wgan --help"], "<=", 0.15),
    ]
    print("\n| wgan | measured | target |  |\n| --- | --- | --- | --- |")
    for name, measured_value, sign, target in targets:
        met = measured_value <= target if sign == "<=" else measured_value >= target
        print(f"| {name} | {measured_value:.2f} | {sign} {target:g} | {'yes' if met else 'NO'} |")


if __name__ == "__main__":
    main()
