"""The trainer of a run, made from its options: data, device, networks, trackers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

from wgan.progress import Progress
from wgan.training.config import ExecutionConfig, TrainConfig
from wgan.training.data import Cache, Dataset, Transform, load_data
from wgan.training.device import check_options
from wgan.training.distributed.process_group import ProcessGroup
from wgan.training.memory import memory_estimate
from wgan.training.monitoring.best import Evaluator
from wgan.training.monitoring.trackers import make_trackers
from wgan.training.networks import build, load_architecture
from wgan.training.resolve import ResolvedRun, resolve_run
from wgan.training.state import TrainState
from wgan.training.trainer import Trainer

EvaluatorFn = Callable[[Dataset], Evaluator]
"""Makes an evaluator for the data of a run."""

OpenEvaluator = Callable[[TrainConfig, ExecutionConfig, torch.device], EvaluatorFn]
"""Opens the features of an evaluator, which is made once the data is decoded."""


def make_trainer(
    settings: Mapping[str, Any],
    execution: ExecutionConfig,
    group: ProcessGroup,
    open_evaluator: OpenEvaluator | None = None,
) -> Trainer:
    """Resolve a run, check its options, decode its data and build its networks.

    Args:
        settings: options of `TrainConfig`; the others come from the run that is resumed, or from
            the recipe.
        execution: where and how to train.
        group: the processes of the run.
        open_evaluator: for `eval_every`; None never evaluates.

    Raises:
        UsageError: an option is not allowed.
        SettingChanged: the run was started with another option.
        DataError: the data is missing, damaged or too little.
        DeviceError: the device does not exist, or does not support an option.
    """
    device = group.device(execution.device)
    resolved = resolve_run(settings, execution.run, execution.download, group)
    config = resolved.config
    # Everything that can be wrong is checked before the data is decoded, which may take long.
    architecture = load_architecture(settings["arch"]) if "arch" in settings else None
    trackers = make_trackers(execution.tracker, resolved.run, config) if group.is_main else []
    make_evaluator = None
    if group.is_main:
        watched = any(tracker.watches_gradients for tracker in trackers)
        check_options(
            config, device, execution.data_on_device, execution.cuda_graph, watched, group.size
        )
        if open_evaluator is not None and config.eval_every:
            make_evaluator = open_evaluator(config, execution, device)
    data = group.local_main_first("decode", lambda: _load(resolved, execution))
    evaluator = make_evaluator(data) if make_evaluator else None
    group.connect(device)
    return Trainer(
        resolved,
        data,
        device,
        architecture,
        trackers,
        evaluator,
        execution.data_on_device,
        execution.cuda_graph,
        group,
    )


def _load(resolved: ResolvedRun, execution: ExecutionConfig) -> Dataset:
    config = resolved.config
    with Progress(resolved.source.count or 0, "decoding", "images") as progress:
        return load_data(
            resolved.source,
            Transform.from_config(config),
            allow_damaged=execution.allow_damaged,
            progress=progress.update,
            cache=Cache.of(execution),
            buffer=config.shuffle_buffer,
        )


def estimate_memory(trainer: Trainer) -> int | None:
    """Estimate the bytes of a step on each rank; None if these networks do not allow it."""
    config, state, ranks = trainer.config, trainer.state, trainer.group.size
    if ranks > 1:  # a rank's share, with networks that do not synchronise with other ranks
        config = dataclasses.replace(config, batch_size=config.batch_size // ranks)
        networks = build(config, load_architecture(config.arch))
        state = TrainState(*networks, config, trainer.device)
    return memory_estimate(state, config)
