"""A trainer made from a run's options: run folder, data, device, networks, trackers."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from wgan.errors import DataError, RunError, UsageError
from wgan.progress import Progress
from wgan.runs import RUNS, Run, follow_pointer, looks_like_run
from wgan.text import shell_quote
from wgan.training.augmentation import resolve_augment
from wgan.training.checkpoint import newest_good_checkpoint, open_checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import Cache, Dataset, ImageSource, Shards, Transform, load_data, open_data
from wgan.training.data.classes import class_names
from wgan.training.data.image_formats import is_image_name
from wgan.training.data.load import absolute_path
from wgan.training.data.sources.image_files import FolderSource, files_below
from wgan.training.data.sources.labelled import with_class
from wgan.training.data.survey import Survey, resolve_data_range, survey
from wgan.training.device import check_precision, resolve_cuda_graph, resolve_precision
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, check_divides
from wgan.training.dry_pass import check_networks
from wgan.training.execution import ExecutionConfig
from wgan.training.fine_tuning import network_settings
from wgan.training.monitoring.best import Evaluator
from wgan.training.monitoring.trackers import make_trackers
from wgan.training.networks import Architecture, load_architecture
from wgan.training.time_budget import plan
from wgan.training.trainer import Trainer

EvaluatorFn = Callable[[Dataset], Evaluator]
"""Makes an evaluator for the data of a run."""

OpenEvaluator = Callable[[TrainConfig, ExecutionConfig, torch.device], EvaluatorFn]
"""Opens the feature network of an evaluator, before the data is decoded."""

CPU = torch.device("cpu")

MAX_RUN_NAME = 50
"""Characters of the data's name in the name of a run's folder, of up to 4 bytes each."""

ResolvedRun = tuple[Run, TrainConfig, ImageSource | Shards]
"""The folder of a run, its settings and its data, not yet decoded."""


def make_trainer(
    settings: Mapping[str, Any],
    execution: ExecutionConfig,
    group: ProcessGroup,
    open_evaluator: OpenEvaluator | None = None,
    report: Callable[[Survey], None] | None = None,
) -> Trainer:
    """Resolve a run, check its options, decode its data and build its networks.

    `settings` are as for `resolve_run`; without `open_evaluator` nothing is ever evaluated.
    `report` gets what the data holds before it is decoded, unless wgan draws or streams it.

    Raises:
        UsageError: an option is not allowed.
        SettingChanged: the run was started with another option.
        DataError: the data is missing, damaged or too little.
        DeviceError: the device does not exist, or does not support an option.
    """
    device = group.device(execution.device)
    run, config, source = resolve_run(settings, execution.run, execution.download, group, device)
    transform = Transform.from_config(config, config.size, config.channels)
    # Everything that can be wrong is checked before the data is decoded, which may take long.
    architecture = _named_architecture(settings)
    trackers, make_evaluator = [], None
    if group.is_main:
        trackers = make_trackers(execution.tracker, run, config)
        watched = any(tracker.watches_gradients for tracker in trackers)
        check_precision(config.precision, device)
        resolve_cuda_graph(execution.cuda_graph, device, config, watched, group.size)
        if open_evaluator is not None and config.eval_every:
            make_evaluator = open_evaluator(config, execution, device)
        if report is not None and isinstance(source, ImageSource) and source.can_be_surveyed:
            found = survey(source, transform)
            report(found)
            found.check_frames(config.batch_size)

    def decode() -> Dataset:
        with Progress(source.count or 0, "decoding", "images") as progress:
            return load_data(
                source,
                transform,
                allow_damaged=execution.allow_damaged,
                progress=progress.update,
                cache=Cache.of(execution),
                buffer=config.shuffle_buffer,
            )

    data = group.local_main_first("decode", decode)
    evaluator = make_evaluator(data) if make_evaluator else None
    if architecture is not None and group.is_main:
        height, width, channels = data.shape
        check_networks(config, architecture, (channels, height, width))
    group.connect(device)  # last: collectives time out while another rank decodes
    return Trainer(
        run,
        config,
        data,
        device,
        architecture,
        trackers,
        evaluator,
        execution.data_on_device,
        execution.cuda_graph,
        group,
    )


def resolve_run(
    given: Mapping[str, Any],
    run: Path | None = None,
    download: bool = False,
    group: ProcessGroup = SINGLE_PROCESS,
    device: torch.device = CPU,
) -> ResolvedRun:
    """Resolve a run on rank 0, and send its folder and settings to the other ranks.

    Args:
        given: settings by their names in `TrainConfig`. If the folder holds a run, all others are
            as that run was started; else they come from the recipe.
        run: the run folder; None names it after the data, size and recipe.
        download: download a named data set that is missing.
        group: the processes of the run.
        device: where rank 0 trains, which the precision auto and `minutes` look at.

    Raises:
        UsageError: a setting is not allowed, or the ranks cannot share a batch evenly.
        SettingChanged: the run in this folder was started with another setting.
        DataError: the data is missing.
        RunError: the folder holds something else.
        CheckpointError: the run has no config.json, and none of its checkpoints can be read.
        RankFailed: rank 0 stopped with an error.
    """
    if not group.is_main:
        config = TrainConfig.from_json(group.store_get("plan"), "rank 0")
        source = group.local_main_first(
            "open", lambda: open_data(config.data, download=download, frames=config.frames)
        )
        return Run(Path(group.store_get("run"))), config, _images_of(config, source)
    folder, config, source = group.local_main_first(
        "open", lambda: _resolve(given, run, download, device)
    )
    if config.minutes and group.size > 1:
        raise UsageError("--minutes is not possible with several processes; give --steps")
    check_divides(group.size, config.batch_size, config.accumulate)
    group.store_set("run", str(folder.path))
    group.store_set("plan", config.to_json())  # another machine may have its data elsewhere
    # Only what rank 0 writes holds in any working folder.
    return folder, dataclasses.replace(config, data=absolute_path(config.data)), source


def _resolve(
    given: Mapping[str, Any], run: Path | None, download: bool, device: torch.device
) -> ResolvedRun:
    run = None if run is None else follow_pointer(run)
    by_user = given  # below, `given` gets the settings of a checkpoint too
    stored = _stored_config(Run(run)) if run else None
    # The channels and the name of a new run's folder are those of the data.
    data = given.get("data", stored.data if stored else TrainConfig.data)
    frames = given.get("frames", stored.frames if stored else TrainConfig.frames)
    try:
        source = open_data(data, download=download, frames=frames)
    except DataError as exc:
        if stored is None or "data" in given:
            raise
        moved = f"wgan train DATA --run {shell_quote(run)}"
        raise DataError(f"{exc}. If the data of this run has moved, run  {moved}") from exc
    if run and (stored is None or isinstance(source, FolderSource)):
        _check_run_folder(run, Path(absolute_path(data)))
    if given.get("start_from") is not None:
        given = {**given, "start_from": str(Path(given["start_from"]).absolute())}
        if stored is None:
            given = {**network_settings(open_checkpoint(Path(given["start_from"]))), **given}
    given = {name: value for name, value in given.items() if name != "classes"}
    new = TrainConfig.resolve({"channels": source.channels, **given})
    if new.conditional:  # the names are the data's
        new = dataclasses.replace(new, classes=class_names(_images_of(new, source)))
    if run is None:
        # A folder's name can be as long as the file system allows, and then nothing fits behind it.
        run = RUNS / f"{source.name[:MAX_RUN_NAME]}-{new.size}-{new.recipe}"
        stored = _stored_config(Run(run))
    if stored is not None:
        resumed = stored.resume(given)
        return Run(run), resumed, _images_of(resumed, source)
    source = _images_of(new, source)
    new = dataclasses.replace(
        new,
        precision=resolve_precision(new.precision, device),
        augment=resolve_augment(new.augment, source.count),
        data_range=resolve_data_range(new.data_range, source),
    )
    if new.minutes:
        new = plan(new, device, given, _named_architecture(by_user))
    return Run(run), new, source


def _named_architecture(settings: Mapping[str, Any]) -> Architecture | None:
    """Import the networks of --arch; a name from another run or a checkpoint runs no code."""
    return load_architecture(settings["arch"]) if "arch" in settings else None


def _check_run_folder(run: Path, data: Path) -> None:
    """Raise UsageError if a run would write its images among those that it is trained on."""
    if not (data.is_absolute() and data.is_dir()):  # the name of a data set, or a file
        return
    folder, source = Path(os.path.realpath(run)), Path(os.path.realpath(data))
    is_inside = source in folder.parents and folder.is_dir()
    is_read = is_inside and not looks_like_run(path.name for path in folder.iterdir())
    holds_images = is_read and any(map(is_image_name, files_below(folder).files))
    if source in (folder, folder / "previews") or holds_images:
        raise UsageError(
            f"--run {run} holds images of the data, and the run's previews would be among them:"
            f" name another folder, such as --run {shell_quote(run / 'run')}"
        )


def _images_of(config: TrainConfig, source: ImageSource | Shards) -> ImageSource | Shards:
    """Return the images that a run uses: a conditional one leaves out those without a class."""
    return with_class(source) if config.conditional else source


def _stored_config(run: Run) -> TrainConfig | None:
    """Return the settings of a run, from its newest good checkpoint if config.json is missing.

    Raises:
        RunError: they cannot be read.
        CheckpointError: config.json is missing and no checkpoint can be read.
    """
    try:
        text = run.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        checkpoint = newest_good_checkpoint(run)
        return checkpoint.config if checkpoint else None
    except NotADirectoryError as exc:
        raise RunError(f"{run.path} is not a folder: --run names the folder of a run") from exc
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise RunError(f"cannot read {run.config}: {reason}") from exc
    return TrainConfig.from_json(text, str(run.config))
