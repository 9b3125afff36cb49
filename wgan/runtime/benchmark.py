"""Speed of engines: the same latents, in turns."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from wgan.host import resident_memory, usable_cores
from wgan.latents import ModelInputs, inputs_from_seeds
from wgan.model_file.manifest import Manifest
from wgan.runtime.config import BenchConfig
from wgan.runtime.generator import Generator
from wgan.runtime.model_source import find_model
from wgan.stop import check_stop

EngineFn = Callable[..., object]
"""Runs a batch of latents `[n, latent_dim]`, and of labels `[n]` for a generator with classes; its
result is ignored."""

OtherEngines = Callable[[Manifest | None, int], Mapping[str, EngineFn]]
"""Opens further engines, by name, for a file with this manifest and a number of threads."""

PAUSE_S = 0.01
"""Pause between two engines: threads of the previous one may still be spinning."""

TURN_S = 0.05
"""Length of an engine's turn: single runs of a millisecond would measure how threads wake up and
how weights return to the cache after another engine's turn."""

ROUNDS = 5
"""Smallest number of turns of each engine."""


@dataclass(frozen=True)
class Timing:
    """One engine at one batch size."""

    engine: str
    batch_size: int
    seconds: tuple[float, ...]  # of each run, in order

    @property
    def median_ms(self) -> float:
        """Median of a run, in milliseconds."""
        return 1000 * statistics.median(self.seconds)

    @property
    def spread_ms(self) -> tuple[float, float]:
        """First and third quartile of a run, in milliseconds."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return 1000 * low, 1000 * high

    @property
    def images_per_second(self) -> float:
        """Images per second of the median run."""
        return self.batch_size / statistics.median(self.seconds)


@dataclass(frozen=True)
class BenchResult:
    """What `bench` measured."""

    provider: str
    threads: int
    memory_bytes: int | None  # that the model and its largest batch take; None: unknown
    timings: list[Timing]


def bench(config: BenchConfig, others: OtherEngines | None = None) -> BenchResult:
    """Time an exported file on this machine, as `wgan bench` does.

    `others` opens engines that take turns with ONNX Runtime, such as PyTorch's.

    Raises:
        ModelFileError: there is no such file, or it is not a generator.
        UsageError, DeviceError, MissingExtra: as `Generator`.
    """
    path = find_model(config.file)
    threads = config.threads or usable_cores()

    def opened() -> Generator:
        return Generator(
            path, config.device, threads, foreign=config.foreign, compute=config.compute
        )

    generator = opened()
    classes = len(generator.classes)
    largest = inputs_from_seeds(range(max(config.batch_sizes)), generator.latent_dim, classes)
    # Opened a second time, when ONNX Runtime's own memory is already allocated.
    run, memory = memory_grown(lambda: opened().run, largest)
    engines = {generator.provider: run}
    if others is not None:
        engines.update(others(generator.manifest, threads))
    timings = measure(
        engines, generator.latent_dim, config.batch_sizes, config.seconds, classes=classes
    )
    return BenchResult(generator.provider, threads, memory, list(timings))


def measure(
    engines: Mapping[str, EngineFn],
    latent_dim: int,
    batch_sizes: Sequence[int],
    seconds: float = 2.0,
    *,
    classes: int = 0,
) -> Iterator[Timing]:
    """Time each engine at each batch size, for about `seconds` per engine and batch size.

    The engines take turns, so that other load on the machine affects all of them alike. Two kinds
    of runs are not counted: the first of all, which allocates and may compile; and the first of
    each turn, when threads are asleep and the cache holds another engine's weights.
    """
    for batch_size in batch_sizes:
        inputs = inputs_from_seeds(range(batch_size), latent_dim, classes)
        for run in engines.values():
            run(*inputs)
        times: dict[str, list[float]] = {name: [] for name in engines}
        until = time.perf_counter() + seconds * len(engines)
        rounds = 0
        while rounds < ROUNDS or time.perf_counter() < until:
            rounds += 1
            check_stop()
            for name, run in engines.items():
                time.sleep(PAUSE_S)
                times[name].extend(_take_turn(run, inputs))
        for name, taken in times.items():
            yield Timing(name, batch_size, tuple(taken))


def _take_turn(run: EngineFn, inputs: ModelInputs) -> list[float]:
    """Seconds of each run in about `TURN_S`, of one run at least."""
    run(*inputs)
    taken: list[float] = []
    until = time.perf_counter() + TURN_S
    while not taken or time.perf_counter() < until:
        start = time.perf_counter()
        run(*inputs)
        taken.append(time.perf_counter() - start)
    return taken


def memory_grown(make: Callable[[], EngineFn], inputs: ModelInputs) -> tuple[EngineFn, int | None]:
    """Open an engine and run it once; return it and the bytes that this process grew by.

    None if the system does not report the memory of a process.
    """
    gc.collect()
    before = resident_memory()
    run = make()
    run(*inputs)
    after = resident_memory()
    return run, None if before is None or after is None else max(0, after - before)
