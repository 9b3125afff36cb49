"""A run seen from a process that does not lead: it computes its share and writes nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from wgan.errors import DataError
from wgan.memory import keep_freed_memory
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import Pictures, Stream, open_data
from wgan.training.device import keeps_data
from wgan.training.distributed import World, check_divides
from wgan.training.loop import Players, train_steps
from wgan.training.networks import Architecture, build
from wgan.training.precision import check_precision, float32_products
from wgan.training.session import Plan, plan
from wgan.training.shortage import told_of_shortage


def plan_together(
    world: World, given: Mapping[str, Any], run: Path | None = None, download: bool = False
) -> Plan:
    """Settle a run once, in the process that leads; arguments and errors as for `plan`.

    Raises also:
        UsageError: a batch cannot be shared out evenly among the processes.
        PeerStopped: the process that leads stopped with an error.
    """
    if world.leads:
        planned = world.first_here("open", lambda: plan(given, run, download))
        check_divides(world.size, planned.config.batch_size, planned.config.accumulate)
        world.publish("run", str(planned.run.path))
        world.publish("plan", planned.config.to_json())
        return planned
    config = TrainConfig.from_json(world.read("plan"), "the process that leads")
    source = world.first_here("open", lambda: open_data(config.data, download=download))
    return Plan(Run(Path(world.read("run"))), config, source, resumes=False)


class Peer(AbstractContextManager["Peer"]):
    """A run as `Session` trains it, less everything that is written."""

    def __init__(
        self,
        plan: Plan,
        data: Pictures | Stream,
        device: torch.device,
        architecture: Architecture | None,
        world: World,
        data_on_device: str = "auto",
    ) -> None:
        """Build the networks; arguments and errors as for `Session`."""
        check_precision(plan.config.precision, device)
        self.config, self.data, self.world = plan.config, data, world
        self.step = 0
        config = plan.config
        self.players = Players(*build(config, architecture), config, device, world)
        self._resident = keeps_data(data_on_device, device, data.nbytes)
        self.batches = data.batches(
            config.batch_size,
            config.seed,
            device,
            flip=config.flip,
            holdout=config.holdout,
            resident=self._resident,
            world=world,
        )
        self._settings = ExitStack()  # PyTorch's, that hold for the whole process

    def __enter__(self) -> Self:
        """Begin where the process that leads does.

        Raises:
            DataError: the pictures here are other ones.
            PeerLost: another process is gone.
        """
        sent = self.world.from_leader(None)
        checkpoint = Checkpoint.from_bytes(sent, "what the process that leads sent")
        if checkpoint.data_sha256 != self.data.sha256:
            raise DataError(
                f"the pictures of {self.config.data} here are not those of the process that"
                " leads: copy them from there"
            )
        checkpoint.restore(self.players)
        self.batches.drawn = checkpoint.batches_drawn
        self.step = checkpoint.step
        self._settings.enter_context(float32_products(self.config.precision))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give PyTorch its settings back."""
        self._settings.close()

    def train(self, should_stop: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Train up to `config.steps`, or until `should_stop()` anywhere; yields after each step.

        Raises:
            MemoryShortage: a step does not fit.
            PeerLost: another process is gone.
        """
        if self.players.device.type == "cpu":
            keep_freed_memory()
        steps = train_steps(self.players, self.batches.next, self.config, self.step)
        while self.step < self.config.steps and not self.world.any(should_stop()):
            with told_of_shortage(self.players, self.config, None, self._resident):
                self.step = next(steps).number
            yield None
