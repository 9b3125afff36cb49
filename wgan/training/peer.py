"""A run seen from a process that does not lead: it computes its share and writes nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wgan.errors import DataError
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import open_data
from wgan.training.distributed.process_group import ProcessGroup, check_divides
from wgan.training.precision import tf32_mode
from wgan.training.session import Plan, plan
from wgan.training.trainee import Trainee


def plan_together(
    group: ProcessGroup, given: Mapping[str, Any], run: Path | None = None, download: bool = False
) -> Plan:
    """Settle a run once, in the process that leads; arguments and errors as for `plan`.

    Raises also:
        UsageError: a batch cannot be shared out evenly among the processes.
        RankFailed: the process that leads stopped with an error.
    """
    if group.is_main:
        planned = group.local_main_first("open", lambda: plan(given, run, download))
        check_divides(group.size, planned.config.batch_size, planned.config.accumulate)
        group.store_set("run", str(planned.run.path))
        group.store_set("plan", planned.config.to_json())
        return planned
    config = TrainConfig.from_json(group.store_get("plan"), "the process that leads")
    source = group.local_main_first("open", lambda: open_data(config.data, download=download))
    return Plan(Run(Path(group.store_get("run"))), config, source, resumes=False)


def train_along(trainee: Trainee, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train from where the process that leads begins to where all stop.

    Args:
        trainee: what this process trains, of the same group as the leader's `Session`.
        should_stop: asked before each step; stops all.

    Raises:
        DataError: the images here are other ones.
        OutOfMemory: a step does not fit.
        RankLost: another process is gone.
    """
    sent = trainee.group.broadcast_bytes(None)
    checkpoint = Checkpoint.from_bytes(sent, "what the process that leads sent")
    if checkpoint.data_sha256 != trainee.data.sha256:
        raise DataError(
            f"the images of {trainee.config.data} here are not those of the process that"
            " leads: copy them from there"
        )
    trainee.restore(checkpoint)
    with tf32_mode(trainee.config.precision):
        for _ in trainee.steps(should_stop):
            pass
