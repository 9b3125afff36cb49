"""A whole training step as one CUDA graph: one launch instead of more than a thousand.

At 64x64, launching the kernels takes the host longer than running them takes the GPU. A CUDA graph
records the kernels of a step, `n_critic` critic updates and the generator's, and replays them on
the same memory.

Only three things change from step to step. Batches are copied to the memory that the graph reads.
The learning rate is a tensor on the device (`state.py`). Random numbers come from the state's
own generator, which is registered with the graph: each replay advances it as an eager step would,
so a checkpoint holds the same random state with and without a graph.
"""

import warnings
from collections.abc import Callable
from typing import Protocol

import torch

from wgan.errors import DeviceError
from wgan.training.config import TrainConfig
from wgan.training.data.batches import Batch
from wgan.training.loop import NextBatch, StepResult, training_step
from wgan.training.state import TrainState

WARM_UP_STEPS = 3
"""Eager steps before the capture: libraries choose algorithms, optimisers allocate their state."""

Work = Callable[[], StepResult]
"""A training step without arguments."""


class Recorder(Protocol):
    """Captures a step; a protocol, so that `CapturedStep` can be tested without a GPU."""

    def warm_up(self, work: Work) -> StepResult:
        """Run `work` eagerly, on the stream of the capture."""

    def capture(self, work: Work) -> Work:
        """Return a function that replays `work`; runs nothing yet."""


class CapturedStep:
    """A `StepFn` that runs the first steps eagerly, then captures one and replays it.

    A replay overwrites the losses of the step before.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._warmed_up = 0
        self._batches: list[Batch] = []
        self._replay: Work | None = None

    def __call__(self, state: TrainState, next_batch: NextBatch, config: TrainConfig) -> StepResult:
        """Take a step. Raises DeviceError when it cannot be captured."""

        def work() -> StepResult:
            # A new iterator each time: a step starts at the first batch of the same memory.
            return training_step(state, iter(self._batches).__next__, config)

        self._load_batches(next_batch, config.batches_per_step)
        if self._warmed_up < WARM_UP_STEPS:
            self._warmed_up += 1
            return self._recorder.warm_up(work)
        if self._replay is None:
            self._replay = self._recorder.capture(work)
        return self._replay()

    def _load_batches(self, next_batch: NextBatch, count: int) -> None:
        """Copy a step's batches to the memory that the graph reads."""
        batches = [Batch.of(next_batch()) for _ in range(count)]
        if not self._batches:
            self._batches = [Batch(*map(torch.empty_like, batch.inputs)) for batch in batches]
        for static, batch in zip(self._batches, batches, strict=True):
            for kept, new in zip(static.inputs, batch.inputs, strict=True):
                kept.copy_(new)


class CUDARecorder:
    """Captures steps on the device of a state that has not been trained yet."""

    def __init__(self, state: TrainState) -> None:
        """Make the optimisers of `state` capturable."""
        make_capturable(state.generator_optimizer, state.device)
        make_capturable(state.critic_optimizer, state.device)
        self._rng, self._device = state.rng, state.device
        self._stream = torch.cuda.Stream(state.device)

    def warm_up(self, work: Work) -> StepResult:
        """Run `work` eagerly, on the stream of the capture."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream), warnings.catch_warnings():
            # The optimisers warn that they are capturable and not being captured.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable")
            result = work()
        current.wait_stream(self._stream)
        return result

    def capture(self, work: Work) -> Work:
        """Capture `work` as a CUDA graph. Raises DeviceError."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._rng)
        try:
            # thread_local: another thread may use the GPU meanwhile, to copy a checkpoint.
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                result = work()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as exc:
            raise DeviceError(
                f"a step of these networks cannot be captured as a CUDA graph ({exc}):"
                " run with --cuda-graph no"
            ) from exc

        def replay() -> StepResult:
            graph.replay()
            return result

        return replay


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Prepare an optimiser that has no state yet for capture in a CUDA graph.

    The learning rate becomes a tensor on the device, which each replay reads.
    """
    for group in optimizer.param_groups:
        group["capturable"] = True
        group["lr"] = torch.tensor(group["lr"], device=device)
