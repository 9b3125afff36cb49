"""What one process of a run trains: its networks, on its rows of the batches, as far as it came."""

from collections.abc import Callable, Iterator

import torch

from wgan.memory import keep_freed_memory
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset, StreamingDataset
from wgan.training.device import free_memory, keeps_data
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from wgan.training.loop import Step, StepFn, train_steps
from wgan.training.networks import Architecture, build
from wgan.training.oom import explain_oom
from wgan.training.precision import check_precision
from wgan.training.state import TrainState


class Trainee:
    """Networks that learn; the same in a process that leads and in one that does not.

    Attributes:
        step: steps done.
    """

    def __init__(
        self,
        config: TrainConfig,
        data: InMemoryDataset | StreamingDataset,
        device: torch.device,
        architecture: Architecture | None = None,
        data_on_device: str = "auto",
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Build the networks.

        Args:
            config: the run's settings.
            data: what `load_data` gave for them.
            device: where to train.
            architecture: as for `wgan.training.networks.build`.
            data_on_device: as for `wgan.training.device.keeps_data`.
            group: the processes that share the work.

        Raises:
            DataError: there are fewer images than a batch.
            UsageError: the networks are not built in and `architecture` is missing.
            DeviceError: the device cannot do what is asked of it.
        """
        check_precision(config.precision, device)
        self.config, self.data, self.device, self.group = config, data, device, group
        self.step = 0
        self.players = TrainState(*build(config, architecture), config, device, group)
        self._resident = keeps_data(data_on_device, device, data.nbytes)
        self._batches = data.batches(
            config.batch_size,
            config.seed,
            device,
            flip=config.flip,
            holdout=config.holdout,
            resident=self._resident,
            group=group,
        )

    def steps(
        self, should_stop: Callable[[], bool], captured: StepFn | None = None
    ) -> Iterator[Step]:
        """Train up to `config.steps`, or until `should_stop()` in any process of the group.

        Args:
            should_stop: asked before each step.
            captured: as for `train_steps`.

        Raises:
            OutOfMemory: a step does not fit; the message says which batch would.
            RankLost: another process is gone.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        # What a share of a batch would take, nobody has found out.
        room = free_memory(self.device) if self.group.size == 1 else None
        steps = train_steps(self.players, self._batches.next, self.config, self.step, captured)
        while self.step < self.config.steps and not self.group.any(should_stop()):
            with explain_oom(self.players, self.config, room, self._resident):
                step = next(steps)
            self.step = step.number
            yield step

    def checkpoint(self) -> Checkpoint:
        """All that is needed to go on from here."""
        return Checkpoint.of(
            self.players, self.config, self.step, self._batches.drawn, self.data.sha256
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from there.

        Raises:
            DeviceError: the checkpoint is of another kind of device.
            UsageError: its weights do not fit the networks.
        """
        checkpoint.restore(self.players)
        self._batches.drawn = checkpoint.batches_drawn
        self.step = checkpoint.step
