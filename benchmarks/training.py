"""Training speed: a tutorial's loop (the article), a usual WGAN-GP loop, and wgan's.

    python -m benchmarks.training [--device cpu|cuda] [--threads 2] [--rounds 7] [--minutes 4]
        [--write docs/performance.md]

All train the same networks on the same images, each in its own process. They take turns: in each
round, every process trains for a few seconds while the others wait. Images per second are real
images seen by the critic. Operations are those of a step's convolutions and matrix products, as
counted by `torch.utils.flop_counter`; the ceiling is the fastest rate of a large matrix product in
the same rounds. Memory is the peak of the process, on a GPU that of PyTorch's allocator. The other
loops get ready-made batches; wgan makes its own from the images. With `--minutes` there are as many
rounds as fit, three at least.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.operations import count_operations
from benchmarks.pages import printed, write_between
from benchmarks.rivals.training_loops import Rival, article_step, usual_step
from wgan.host import MIB, keep_freed_memory, peak_memory
from wgan.training import losses
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import CapturedStep, CUDARecorder
from wgan.training.data import InMemoryDataset
from wgan.training.device import tf32_mode
from wgan.training.loop import train_steps
from wgan.training.monitoring.step_stats import CopiedStats, StepStats
from wgan.training.networks import build
from wgan.training.state import TrainState

IMAGES = 1024
LOOK_EVERY = 10
"""Interval at which wgan fetches its metrics, the default of `--log-every`."""

LEAST_ROUNDS = 3

ARTICLE = "the article's loop"

Step = Callable[[], object]


@dataclass(frozen=True)
class Workload:
    """Networks and batch that all loops train."""

    batch_size: int
    width: int
    n_critic: int
    device: torch.device
    size: int = 64
    latent_dim: int = 128

    @property
    def images_per_step(self) -> int:
        """Number of real images that the critic sees."""
        return self.batch_size * self.n_critic

    def config(self, recipe: str = "wgan-gp", **settings: object) -> TrainConfig:
        """Return the settings of a run that trains this."""
        return TrainConfig.resolve(
            {
                "recipe": recipe,
                "size": self.size,
                "width": self.width,
                "latent_dim": self.latent_dim,
                "batch_size": self.batch_size,
                "n_critic": self.n_critic,
                **settings,
            }
        )


@dataclass(frozen=True)
class Contender:
    """A training loop and its name in the table."""

    name: str
    make: Callable[[Workload], Step]
    ceiling: str = "fp32"  # precision of its matrix products


@dataclass(frozen=True)
class Found:
    """Measurements of a contender."""

    name: str
    seconds: list[float]  # per step, of each turn
    operations: int  # of a step
    ceiling: float  # operations per second
    peak: int | None  # bytes


@dataclass(frozen=True)
class Rounds:
    """How long to measure."""

    most: int
    seconds: float  # shortest turn
    minutes: float  # in all; 0 for as many as `most` take

    def forecast(self, device: torch.device) -> str:
        """Return a sentence on the time that this takes."""
        loops, many = len(contenders(device)), len(workloads(device))
        turns = many * loops * self.most * self.seconds / 60
        limit = f", and ends after about {self.minutes:g}" if self.minutes else ""
        return (
            f"{loops} loops on {many} workloads: {turns:.1f} minutes of turns, and the start of"
            f" {loops * many} processes{limit}"
        )

    def is_enough(self, done: int, started: float, limit: float) -> bool:
        """Whether to stop after `done` rounds since `started`: another would end past `limit`."""
        if done >= self.most or not limit:
            return done >= self.most
        taken = time.perf_counter() - started
        return done >= LEAST_ROUNDS and taken * (done + 1) / done > limit


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="shortest turn")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="make fewer rounds if it is over"
    )
    parser.add_argument("--write", type=Path, help="page whose tables to replace")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)  # one of the processes
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no CUDA device here")
    torch.set_num_threads(options.threads)
    if options.contender:
        name, batch_size = options.contender
        take_turns(options.device, name, batch_size, options.seconds)
        return
    plan = Rounds(options.rounds, options.seconds, options.minutes)
    print(plan.forecast(torch.device(options.device)), file=sys.stderr)
    lines = list(printed(report(options.device, options.threads, plan)))
    if options.write is not None:
        write_between(options.write, f"<!-- benchmarks/training.py, {options.device} -->", lines)


def report(device: str, threads: int, plan: Rounds) -> Iterator[str]:
    """Yield the lines of the page."""
    on = f"{torch.cuda.get_device_name()}; " if device == "cuda" else ""
    yield f"    {on}{describe_machine('torch')}, {threads} threads"
    todo = workloads(torch.device(device))
    for workload in todo:
        found = race(workload, plan, 60 * plan.minutes / len(todo), threads)
        yield ""
        yield (
            f"{workload.size}x{workload.size}, width {workload.width}, batch"
            f" {workload.batch_size}, {workload.n_critic} critic updates,"
            f" {len(found[0].seconds)} rounds:"
        )
        yield ""
        yield from table(found, workload)


def workloads(device: torch.device) -> list[Workload]:
    """Return the workloads of a device."""
    if device.type == "cpu":
        return [Workload(32, 32, 3, device)]
    return [Workload(batch_size, 64, 5, device) for batch_size in (64, 256)]


def contenders(device: torch.device) -> list[Contender]:
    """Return the loops of a device. PyTorch's default for convolutions on a GPU is TF32."""
    others = "fp32" if device.type == "cpu" else "tf32"
    common = [
        Contender(ARTICLE, partial(rival, article_step, "article"), others),
        Contender("a usual WGAN-GP loop", partial(rival, usual_step, "wgan-gp"), others),
    ]
    if device.type == "cpu":
        return [
            *common,
            Contender("wgan, --recipe article", partial(ours, recipe="article")),
            Contender("wgan", ours),
            Contender("wgan, with PyTorch's double backward", without_second_order),
            Contender("wgan, --gp-every 3", partial(ours, gp_every=3)),
            Contender("wgan, --precision bf16", partial(ours, precision="bf16"), "bf16"),
        ]
    return [
        *common,
        *(
            Contender(
                f"wgan, --precision {precision}{'' if capture else ' --cuda-graph no'}",
                partial(ours, capture=capture, precision=precision),
                precision,
            )
            for precision in ("fp32", "tf32", "bf16")
            for capture in (False, True)
        ),
        Contender(
            "wgan, --precision tf32, with PyTorch's double backward",
            partial(without_second_order, capture=True, precision="tf32"),
            "tf32",
        ),
    ]


def rival(
    step: Callable[[Rival, Callable[[], Tensor]], None], recipe: str, workload: Workload
) -> Step:
    """Return a step of another loop, on batches that are ready in host memory."""
    config = workload.config(recipe)
    contender = Rival(
        *build(config),
        betas=(config.beta1, config.beta2),
        n_critic=config.n_critic,
        latent_dim=config.latent_dim,
        device=workload.device,
    )
    images = torch.from_numpy(pixels(workload)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    batches = [part.contiguous() for part in images.split(workload.batch_size)]
    drawn = iter(int(n) for n in np.random.RandomState(0).randint(len(batches), size=10**6))
    return lambda: step(contender, lambda: batches[next(drawn)])


def ours(
    workload: Workload, capture: bool = False, recipe: str = "wgan-gp", **settings: object
) -> Step:
    """Return a step of wgan's loop, with everything that a run does at each step."""
    config = workload.config(recipe, **settings)
    on_gpu = workload.device.type == "cuda"
    if not on_gpu:
        keep_freed_memory()
    state = TrainState(*build(config), config, workload.device)
    batches = InMemoryDataset(pixels(workload), [], "").batches(
        config.batch_size, 0, workload.device, on_device=on_gpu
    )
    captured = CapturedStep(CUDARecorder(state)) if capture else None
    steps = train_steps(state, batches.next, config, step_fn=captured)
    stats = StepStats(state)
    copies: list[CopiedStats] = []  # read a step later, as a run on a GPU does

    def step() -> None:
        with tf32_mode(config.precision):
            taken = next(steps)
        if copies:
            copies.pop().check_finite()
        stats.record(taken)
        if taken.number % LOOK_EVERY == 0:
            copies.append(stats.copy())

    return step


def without_second_order(workload: Workload, **settings: Any) -> Step:
    """Return a step of the same loop with PyTorch's formulas for the penalty's second backward."""
    # Each contender has a process of its own, so this changes no other contender.
    vars(losses)["FastDoubleBackward"] = _PlainDoubleBackward
    return ours(workload, **settings)


class _PlainDoubleBackward(nullcontext[Any]):
    """Replacement of `FastDoubleBackward` that changes no operation."""

    def __enter__(self) -> Self:
        return self

    def no_weight_gradients(self) -> nullcontext[None]:
        """Change nothing."""
        return nullcontext()


def pixels(workload: Workload) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return noise images: their content does not change the time of a step."""
    shape = (IMAGES, workload.size, workload.size, 3)
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def race(workload: Workload, plan: Rounds, limit: float, threads: int) -> list[Found]:
    """Let the contenders train in turns, for about `limit` seconds unless that is 0."""
    started = time.perf_counter()
    taking_part = contenders(workload.device)
    rates: dict[str, list[float]] = {contender.ceiling: [] for contender in taking_part}
    times: dict[str, list[float]] = {contender.name: [] for contender in taking_part}
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(Process(name, workload, plan.seconds, threads))
            for name in times
        }
        for number in itertools.count():
            if plan.is_enough(number, started, limit):
                break
            for precision, found in rates.items():
                found.append(matrix_rate(precision, workload.device))
            for name in list(processes)[:: -1 if number % 2 else 1]:
                times[name].append(processes[name].turn())
        # Other processes only slow a product down, so the fastest is nearest to the ceiling.
        ceilings = {precision: max(found) for precision, found in rates.items()}
        return [
            Found(
                contender.name,
                times[contender.name],
                processes[contender.name].operations,
                ceilings[contender.ceiling],
                processes[contender.name].peak(),
            )
            for contender in taking_part
        ]


class Process:
    """A contender in a process of its own that waits for its turns."""

    def __init__(self, name: str, workload: Workload, seconds: float, threads: int) -> None:
        command = [sys.executable, "-m", "benchmarks.training", "--device", workload.device.type]
        command += ["--threads", str(threads), "--seconds", str(seconds)]
        command += ["--contender", name, str(workload.batch_size)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.operations = int(self._answer())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def turn(self) -> float:
        """Let it train; returns seconds per step."""
        return float(self._ask("turn"))

    def peak(self) -> int | None:
        """Return its peak memory in bytes."""
        answer = self._ask("peak")
        return None if answer is None else int(answer)

    def _ask(self, request: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(request + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended: {self._process.args!r}")
        return json.loads(line)


def take_turns(device: str, name: str, batch_size: str, seconds: float) -> None:
    """Run a contender: warm up, print the operations of a step, then train for each input line."""
    (workload,) = (
        one for one in workloads(torch.device(device)) if one.batch_size == int(batch_size)
    )
    (chosen,) = (one for one in contenders(workload.device) if one.name == name)
    step = chosen.make(workload)
    operations = count_operations(step).flops
    turn(step, 0.0, 5, workload.device)  # warm-up: algorithms, graphs, optimiser state
    print(operations, flush=True)  # ready: works only in its turns from now on
    for line in sys.stdin:
        answer = turn(step, seconds, 2, workload.device) if line == "turn\n" else peak(device)
        print(json.dumps(answer), flush=True)


def peak(device: str) -> int | None:
    """Return the peak memory of this process in bytes, on a GPU or in host memory."""
    return torch.cuda.max_memory_reserved() if device == "cuda" else peak_memory()


def turn(step: Step, seconds: float, least: int, device: torch.device) -> float:
    """Take at least `least` steps, for at least `seconds`; returns seconds per step."""
    taken, start = 0, time.perf_counter()
    while taken < least or time.perf_counter() - start < seconds:
        for _ in range(least):
            step()
        taken += least
        synchronize(device)
    return (time.perf_counter() - start) / taken


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(precision: str, device: torch.device) -> float:
    """Return operations per second of a large matrix product, the best of five."""
    side = 2048 if device.type == "cpu" else 8192
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    times = []
    for _ in range(5):
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - start)
    torch.backends.cuda.matmul.allow_tf32 = before
    return float(2 * side**3 / min(times))


def table(found: list[Found], workload: Workload) -> Iterator[str]:
    """Yield a row for each contender."""
    yield (
        "| | images/s, median | least to most | s/step | times the article's | GFLOP/step |"
        " of the ceiling | peak MiB |"
    )
    yield "| --- |" + " --- |" * 7
    images = workload.images_per_step
    article = statistics.median(found[0].seconds)
    for row in found:
        median = statistics.median(row.seconds)
        share = row.operations / median / row.ceiling
        peak = "unknown" if row.peak is None else f"{row.peak / MIB:,.0f}"
        yield (
            f"| {row.name} | {images / median:,.1f} | {images / max(row.seconds):,.1f} to"
            f" {images / min(row.seconds):,.1f} | {median:.4f} | {article / median:.2f} |"
            f" {row.operations / 1e9:,.0f} | {share:.0%} of {row.ceiling / 1e9:,.0f} GFLOP/s |"
            f" {peak} |"
        )


if __name__ == "__main__":
    main()
