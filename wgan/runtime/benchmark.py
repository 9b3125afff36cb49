"""How fast engines draw: the same latents, one after the other, again and again."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wgan.latents import latents_from_seeds
from wgan.memory import memory_now
from wgan.stop import check_stop

Latents = npt.NDArray[np.float32]

Draw = Callable[[Latents], object]
"""Draws a batch of latents `[n, latent_dim]`; what it gives back is not looked at."""

SETTLE_S = 0.01
"""Pause between two engines: threads of the one before may still be waiting actively."""

TURN_S = 0.05
"""An engine's turn: runs of a millisecond would otherwise time how a sleeping thread wakes up and
how weights come back into the cache, which the engine before took."""

ROUNDS = 5
"""At least so many turns of each engine, however slow."""


@dataclass(frozen=True)
class Timing:
    """One engine at one batch size."""

    engine: str
    batch_size: int
    seconds: tuple[float, ...]  # of each run, in the order of the runs

    @property
    def median_ms(self) -> float:
        """Of a run, in milliseconds."""
        return 1000 * statistics.median(self.seconds)

    @property
    def spread_ms(self) -> tuple[float, float]:
        """The first and the third quartile of a run, in milliseconds."""
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return 1000 * low, 1000 * high

    @property
    def images_per_second(self) -> float:
        """By the median run."""
        return self.batch_size / statistics.median(self.seconds)


def measure(
    engines: Mapping[str, Draw],
    latent_dim: int,
    batch_sizes: Sequence[int],
    seconds: float = 2.0,
) -> Iterator[Timing]:
    """Time each engine at each batch size, for about `seconds` an engine and batch size.

    The engines take turns, so that whatever else the machine does meets all of them alike. Two
    kinds of run are not counted: the first of all, which allocates, and compiles where there is a
    compiler; and the first of each turn, which finds the threads asleep and another engine's
    weights in the cache.
    """
    for batch_size in batch_sizes:
        drawn = latents_from_seeds(range(batch_size), latent_dim)
        for run in engines.values():
            run(drawn)
        times: dict[str, list[float]] = {name: [] for name in engines}
        until = time.perf_counter() + seconds * len(engines)
        rounds = 0
        while rounds < ROUNDS or time.perf_counter() < until:
            rounds += 1
            check_stop()
            for name, run in engines.items():
                time.sleep(SETTLE_S)
                times[name].extend(_take_turn(run, drawn))
        for name, taken in times.items():
            yield Timing(name, batch_size, tuple(taken))


def _take_turn(run: Draw, drawn: Latents) -> list[float]:
    """Seconds of each run in about `TURN_S`, of one at least."""
    run(drawn)
    taken: list[float] = []
    until = time.perf_counter() + TURN_S
    while not taken or time.perf_counter() < until:
        start = time.perf_counter()
        run(drawn)
        taken.append(time.perf_counter() - start)
    return taken


def memory_grown(make: Callable[[], Draw], drawn: Latents) -> tuple[Draw, int | None]:
    """Open an engine and draw once; gives it, and the bytes that this process grew by.

    None where the system does not say how much memory a process has.
    """
    gc.collect()
    before = memory_now()
    run = make()
    run(drawn)
    after = memory_now()
    return run, None if before is None or after is None else max(0, after - before)
