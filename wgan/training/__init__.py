"""Training of a WGAN-GP: data, networks, losses, the loop, checkpoints. Needs PyTorch.

    from wgan.training import TrainConfig, train

    run = train(TrainConfig(data="photos", size=64, steps=10_000))

Read `loop.py` first: it is the algorithm from top to bottom. Then `losses.py` and `networks/`.
`setup.py` makes a `Trainer` (`trainer.py`) from the options (`config.py`); it keeps a run on disk.
"""

import dataclasses
from typing import Any

from wgan.errors import UsageError, needs_extra
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.execution import ExecutionConfig

__all__ = ["ExecutionConfig", "TrainConfig", "train"]


def train(config: TrainConfig, execution: ExecutionConfig | None = None) -> Run:
    """Train a run to its last step, or resume it, in this process.

    Ctrl-C saves a checkpoint after the current step and raises KeyboardInterrupt. To follow the
    metrics, or to evaluate while training, iterate over `Trainer.train`.

    `TrainConfig.resolve` fills in a recipe. As on the command line, the data chooses `channels`,
    and `minutes` choose `steps`, `width` and `batch_size`, where these have their defaults. So only
    `wgan train --channels 3` can train grey images in colour.

    Raises:
        UsageError: an option is not allowed, or `config.eval_every` is not 0.
        SettingChanged: the run was started with another option.
        RunError: the run folder cannot be used.
        DataError: the data is missing, damaged or too little.
        DeviceError: the device does not exist, or does not support an option.
        TrainingDiverged: a value is not finite.
        OutputError: a file cannot be written.
        MissingExtra: PyTorch is not installed.
    """
    if config.eval_every:
        raise UsageError(
            f"eval_every = {config.eval_every}: train() does not evaluate. Set eval_every = 0, or"
            f" run  wgan train --eval-every {config.eval_every}"
        )
    with needs_extra("train", purpose="training"):
        from wgan.training.distributed.process_group import SINGLE_PROCESS
        from wgan.training.setup import make_trainer
    trainer = make_trainer(_given(config), execution or ExecutionConfig(), SINGLE_PROCESS)
    for _ in trainer.train():
        pass
    return trainer.run


def _given(config: TrainConfig) -> dict[str, Any]:
    """The settings of a config without the defaults that the data or `minutes` may replace."""
    replaced = {"channels", "steps", "width", "batch_size"} if config.minutes else {"channels"}
    default = TrainConfig.resolve({"recipe": config.recipe})
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in replaced or value != getattr(default, name)
    }
