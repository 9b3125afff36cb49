"""Speed of `wgan sample`, the cost of each kind of output, and memory.

    python -m benchmarks.sampling [--model FILE] [--images 1024] [--rounds 5] [--many 100000]

Without `--model`, a generator of 64x64 and width 64 is trained for one step. Compared runs take
turns, so that other load affects all of them; the first round is not counted. docs/performance.md
has the figures of `--many 1000000`; since that takes hours at 64x64, memory is measured with the
built-in model.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from benchmarks.cold_start import WGAN, environment, make_models
from benchmarks.machine import describe_machine
from wgan.host import usable_cores
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator, SampleConfig
from wgan.runtime.builtin import builtin_model
from wgan.runtime.job import Job
from wgan.runtime.latent_sources import SeedLatents
from wgan.runtime.writers import write


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=100_000)
    options = parser.parse_args()
    print(describe_machine("onnxruntime", "numpy", "pillow"))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        model = options.model
        if model is None:
            make_models(work / "models", 64, 64)
            model = work / "models" / "fp32.onnx"
        throughput(model, work, options.images, options.rounds)
        batch_sizes(model, options.rounds)
        memory_by_batches(model)
        idle_cpu(model)
        memory_by_count(work, options.many)


def throughput(model: Path, work: Path, n: int, rounds: int) -> None:
    """Compare the loop and writers of `wgan sample` with bare runs of a session."""
    generator = Generator(model, device="cpu")
    batch = generator.default_batch_size
    bare = bare_runs(model, generator.latent_dim, n, batch)
    outs = ("out.npy", "out.npz", "out.tar", "out.zip", "out/")

    def to(out: str) -> Callable[[], None]:
        source = SeedLatents(1.0, range(n), generator.latent_dim)
        # Nothing of an earlier round is resumed.
        job = Job(generator, source, range(n), SampleConfig(overwrite=True))
        return lambda: write(f"{work}/{out}", job)

    ways = {"InferenceSession.run, bare": bare, **{f"to {out}": to(out) for out in outs}}
    seconds = in_turn(ways, rounds)
    base = seconds["InferenceSession.run, bare"]
    print(f"\n{n} images, batch {batch}, {usable_cores()} threads\n")
    print("| | images/s, median | least | most | of bare |\n| --- | --- | --- | --- | --- |")
    for name, each in seconds.items():
        ratio = statistics.median(b / s for b, s in zip(base, each, strict=True))
        print(f"| {name} | {_rates(n, each)} | {ratio:.1%} |")


def bare_runs(model: Path, latent_dim: int, n: int, batch: int) -> Callable[[], None]:
    """Return a function that only runs a default session, with as many threads."""
    options = onnxruntime.SessionSampleConfig()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    drawn = latents_from_seeds(range(n), latent_dim)

    def run() -> None:
        for start in range(0, n, batch):
            session.run(["pixels"], {"latents": drawn[start : start + batch]})

    return run


def batch_sizes(model: Path, rounds: int) -> None:
    """Measure the batch sizes: why the default on the CPU is 16."""
    print(
        "\n| batch | images/s, median | least | most | peak MiB |\n| --- | --- | --- | --- | --- |"
    )
    generator = Generator(model, device="cpu")
    drawn = latents_from_seeds(range(128), generator.latent_dim)

    def run(batch: int) -> Callable[[], None]:
        def draw() -> None:
            for start in range(0, len(drawn), batch):
                generator.pixels(drawn[start : start + batch])

        return draw

    seconds = in_turn({str(batch): run(batch) for batch in (1, 4, 8, 16, 32, 64)}, rounds)
    for batch, each in seconds.items():
        peak = peak_of(
            "from wgan.runtime import Generator;"
            f"Generator({str(model)!r}, 'cpu').sample(range(128), {batch})"
        )
        print(f"| {batch} | {_rates(len(drawn), each)} | {peak:.0f} |")


def memory_by_batches(model: Path) -> None:
    """Measure the memory of batches of many sizes, on the CPU."""
    script = (
        "import numpy as np;"
        "from wgan.runtime import Generator;"
        "from wgan.latents import latents_from_seeds;"
        f"generator = Generator({str(model)!r}, 'cpu');"
        "drawn = latents_from_seeds(range(64), generator.latent_dim);"
        "sizes = np.random.RandomState(0).randint(1, 65, 60);"
        "[generator.pixels(drawn[:{size}]) for n in sizes]"
    )
    print("\n| 60 batches of | peak MiB |\n| --- | --- |")
    for name, size in {
        "64": "64",
        "1 to 64, unpadded": "n",
        "1 to 64, padded to powers of two": "1 << int(n - 1).bit_length()",
    }.items():
        print(f"| {name} | {peak_of(script.format(size=size)):.0f} |")


def idle_cpu(model: Path) -> None:
    """Measure CPU time in the second after a run: none if threads do not spin."""
    generator = Generator(model, device="cpu")
    default = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    drawn = latents_from_seeds(range(4), generator.latent_dim)
    print("\n| in the second after a run | CPU s |\n| --- | --- |")
    runs: dict[str, Callable[[], object]] = {
        "wgan": lambda: generator.pixels(drawn),
        "ONNX Runtime's default": lambda: default.run(["pixels"], {"latents": drawn}),
    }
    for name, run in runs.items():
        run()
        start = time.process_time()
        time.sleep(1)
        print(f"| {name} | {time.process_time() - start:.3f} |")


def memory_by_count(work: Path, many: int) -> None:
    """Measure the memory for a thousand images and for very many."""
    print("\n| built-in model | images | seconds | images/s | peak MiB |")
    print("| --- | --- | --- | --- | --- |")
    for out in ("out.tar", "out/", "out.npy"):
        for n in (1000, many):
            command = [*WGAN, "sample", "--model", str(builtin_model()), "-n", str(n), out]
            seconds, memory = run_apart([*command, "--overwrite"], work)
            print(f"| {out} | {n} | {seconds:.1f} | {n / seconds:.0f} | {memory:.0f} |")


def in_turn(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each function in each round, without the first round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


# A child inherits its parent's peak at the fork, so a small process starts it.
APART = """
import resource, subprocess, sys, time
start = time.perf_counter()
quiet = subprocess.DEVNULL
subprocess.run(sys.argv[1:], check=True, stdout=quiet, stderr=quiet)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def run_apart(command: Sequence[str], work: Path) -> tuple[float, float]:
    """Return seconds and peak MiB of a command."""
    done = subprocess.run(
        [sys.executable, "-c", APART, *command],
        cwd=work,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    seconds, peak = map(float, done.stdout.split())
    return seconds, peak


def peak_of(script: str) -> float:
    """Return the peak MiB of a Python process that runs a script."""
    return run_apart([sys.executable, "-c", script], Path())[1]


def _rates(n: int, seconds: list[float]) -> str:
    rates = n / np.array(seconds)
    return f"{np.median(rates):.1f} | {rates.min():.1f} | {rates.max():.1f}"


if __name__ == "__main__":
    main()
