"""A whole step recorded as a CUDA graph: one launch in place of more than a thousand.

At 64x64 a GPU computes faster than the host can tell it what to do. A CUDA graph holds all of a
step, `n_critic` critic updates and the generator's, and repeats it on the same memory.

Nothing of a step but its batches, its random numbers and its learning rate differs from the one
before. Batches are copied to where the graph reads them; the learning rate is a number on the
device (`optimizers.py`); the random numbers come from the run's own generator, which is registered
with the graph: each replay begins where the last one ended, so that the generator's state after a
step, which a checkpoint holds, is the one that it would be without a graph.
"""

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from wgan.errors import DeviceError
from wgan.training.config import TrainConfig
from wgan.training.loop import NextBatch, Outcome, TrainState, take_step
from wgan.training.optimizers import make_capturable

WARM_UP = 3
"""Steps that are taken as they are before one is recorded: libraries choose their plans in them,
and the optimisers make their state."""

Work = Callable[[], Outcome]


class Recorder(Protocol):
    """What records a step; a protocol, so that the rest can be tested where there is no GPU."""

    def prepare(self, work: Work) -> Outcome:
        """Do `work` where recording will take place."""

    def record(self, work: Work) -> Work:
        """Return what repeats `work`; nothing is done yet."""


class CapturedStep:
    """Takes a run's steps, the first few as `take_step` does and the others by its recording.

    What a recorded step returns is overwritten by the next.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._prepared = 0
        self._batches: list[Tensor] = []
        self._repeat: Work | None = None

    def __call__(self, players: TrainState, next_batch: NextBatch, config: TrainConfig) -> Outcome:
        """Take a step. Raises DeviceError when it cannot be recorded."""

        def work() -> Outcome:
            return take_step(players, iter(self._batches).__next__, config)

        self._draw(next_batch, config.n_critic if config.fresh_batches else 1)
        if self._prepared < WARM_UP:
            self._prepared += 1
            return self._recorder.prepare(work)
        if self._repeat is None:
            self._repeat = self._recorder.record(work)
        return self._repeat()

    def _draw(self, next_batch: NextBatch, count: int) -> None:
        """Copy a step's batches to where its recording reads them."""
        drawn = [next_batch() for _ in range(count)]
        if not self._batches:
            self._batches = [torch.empty_like(batch) for batch in drawn]
        for place, batch in zip(self._batches, drawn, strict=True):
            place.copy_(batch)


class CUDARecorder:
    """Records on the device of `players`, who have taken no step yet."""

    def __init__(self, players: TrainState) -> None:
        """Make the players' optimisers such that a graph can hold their updates."""
        make_capturable(players.generator_optimizer, players.device)
        make_capturable(players.critic_optimizer, players.device)
        self._noise, self._device = players.noise, players.device
        self._stream = torch.cuda.Stream(players.device)

    def prepare(self, work: Work) -> Outcome:
        """Do `work` on a stream of its own, as the recording will."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # The optimisers' own, that they are not being captured.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable")
            outcome = work()
        current.wait_stream(self._stream)
        return outcome

    def record(self, work: Work) -> Work:
        """Record `work` as a CUDA graph. Raises DeviceError."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._noise)
        try:
            # Only this thread's calls count: another may copy a checkpoint meanwhile.
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                outcome = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as exc:
            raise DeviceError(
                f"a step of these networks cannot be recorded as a CUDA graph ({exc}):"
                " run with --capture no"
            ) from exc

        def repeat() -> Outcome:
            graph.replay()
            return outcome

        return repeat
