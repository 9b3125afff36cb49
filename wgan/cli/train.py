"""`wgan train`."""

import contextlib
import dataclasses
import datetime as dt
import io
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.skipped import print_survey, report_skipped
from wgan.errors import UsageError, needs_extra
from wgan.host import MIB
from wgan.image_shape import PIXEL_CHANNELS, channels_text
from wgan.options import flag, to_toml
from wgan.progress import Progress, clock_time
from wgan.stop import StopFlag, install_stop_handler, stop_at_once
from wgan.text import plural, printable, shell_quote
from wgan.training.config import TrainConfig
from wgan.training.distributed import is_launched
from wgan.training.execution import ExecutionConfig
from wgan.training.recipes import ARCHITECTURES, RECIPES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wgan.evaluation.evaluator import FixedSeedEvaluator
    from wgan.training.data import Dataset
    from wgan.training.data.survey import Survey
    from wgan.training.distributed.process_group import ProcessGroup
    from wgan.training.setup import EvaluatorFn
    from wgan.training.trainer import Trainer

logger = logging.getLogger(__name__)

FEW_IMAGES = 1000

FEW_IMAGES_NOTE = "{} are few: the generator will repeat them, and get worse again after a while"
NEW_RUN_ADVICE = ". --flip doubles them, --holdout 0.1 shows when the critic overfits"
AUGMENT_NOTE = ", --augment color,translation,cutout makes more of them"

END_AFTER_S = 5.0
"""The estimated end is said with the first metrics, or after this time."""

MAX_STEPS = 2**31
"""Largest value of --steps."""


@click.command(cls=ConfigCommand)
@config_options(TrainConfig, ExecutionConfig, presets=RECIPES)
@click.option("--compile/--no-compile", default=None, hidden=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only decode the data, time a few steps, and print what would be done, as a file for"
    " --config.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print one JSON document.")
def train(given: Given, compile: bool | None, dry_run: bool, as_json: bool) -> None:  # noqa: A002
    """Train a generator on DATA. The same command resumes a stopped run.

    DATA is a folder of images at any depth, a .zip or .tar of them, a folder or file of idx
    data (MNIST, Fashion-MNIST), files of NumPy, HDF5, CSV, parquet or LMDB (docs/data.md has them
    all), or a name: letters (built in, the default), glyphs (the same, more varied), mnist,
    fashion-mnist, cifar10, celeba, stl10, svhn. Shards that wgan prepare wrote, named by a
    pattern such as 'shards/*.tar', are streamed.

    Several GPUs or machines: torchrun --nproc-per-node N -m wgan train ...
    """
    if as_json and not dry_run:
        raise UsageError("--json prints what --dry-run finds out: give both")
    if compile is not None:
        logger.warning("--compile is ignored: wgan no longer compiles steps")
    execution = given.make(ExecutionConfig)
    with contextlib.ExitStack() as stack:
        # Ranks wait for each other in native code, where Python's handlers do not run: until the
        # training begins, a signal ends them at once.
        stop = None if is_launched() else stack.enter_context(install_stop_handler())
        with needs_extra("train", purpose="training"):
            from wgan.training.distributed.process_group import join
            from wgan.training.setup import make_trainer

        group = stack.enter_context(join(execution.dist_timeout))
        stack.enter_context(_silence_other_ranks(group))
        with stop_at_once():
            open_evaluator = None if dry_run else _open_evaluator
            surveys: list[Survey] = []
            report = surveys.append if dry_run else print_survey
            trainer = make_trainer(given.of(TrainConfig), execution, group, open_evaluator, report)
            report_skipped(trainer.data.skipped)
            if dry_run:
                _print_dry_run(trainer, given, surveys, as_json)
                return
        for name, text in _description(trainer).items():
            click.echo(f"{name:10}{text}")
        stop = stop or stack.enter_context(install_stop_handler())
        with trainer:
            start = trainer.step
            _train(trainer, stop)
        _print_next_commands(trainer, start, given)
        if not group.is_main:
            return
    if trainer.step < trainer.config.steps:  # stopped by a signal, here or in another process
        sys.exit(128 + (stop.number or signal.SIGTERM))


@contextmanager
def _silence_other_ranks(group: "ProcessGroup") -> Iterator[None]:
    """Silence every process but the main one; their errors are still printed."""
    if group.is_main:
        yield
        return
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _open_evaluator(
    config: TrainConfig, execution: ExecutionConfig, device: "torch.device"
) -> "EvaluatorFn":
    with needs_extra("eval", purpose="--eval-every"):
        from wgan.evaluation.evaluator import FixedSeedEvaluator
        from wgan.evaluation.features import open_features, provider_for
        from wgan.evaluation.statistics import MAX_FEATURES, load_reference, statistics_folder
        from wgan.training.data import Cache

    features = open_features(
        config.eval_features,
        device,
        provider=provider_for(execution.device),
        weights=execution.weights,
        download=execution.download,
    )

    def make_evaluator(data: "Dataset") -> "FixedSeedEvaluator":
        folder = statistics_folder(Cache.of(execution))
        real = load_reference(data, features, MAX_FEATURES, folder, progress=True)
        return FixedSeedEvaluator(config.eval_metric, real, data.sha256, features, config.eval_n)

    return make_evaluator


def _description(trainer: "Trainer") -> dict[str, str]:
    config, state, count = trainer.config, trainer.state, trainer.data.count
    resumed = trainer.run.has_begun
    images = "streamed images" if count is None else plural(count, "image")
    colours = channels_text(config.channels)
    if config.channels not in PIXEL_CHANNELS:
        shown = "first one" if config.channels == 2 else "first three"
        colours += f", of which previews show the {shown}"
    rows = {
        "run": f"{trainer.run.path}" + ("  (resumed)" if resumed else ""),
        "data": f"{config.data}: {images}, {config.image_width}x{config.height}, {colours}",
    }
    if config.augment != "none":
        rows["augment"] = config.augment.replace(",", ", ")
    if config.start_from is not None:
        rows["from"] = config.start_from
    for name, network in (("generator", state.generator), ("critic", state.critic)):
        rows[name] = f"{_parameters(network):,} parameters"
    shared = f", {trainer.group.size} processes" if trainer.group.size > 1 else ""
    rows["device"] = f"{trainer.device}, {config.precision}{shared}"
    if config.minutes:
        rows["plan"] = (
            f"{config.minutes:g} minutes: width {config.width}, batches of {config.batch_size},"
            f" about {config.steps:,} steps"
        )
    notes = []
    if count is not None and count < FEW_IMAGES:
        advice = ""
        if not resumed:  # a resumed run refuses these options
            advice = NEW_RUN_ADVICE + (AUGMENT_NOTE if config.augment == "none" else "")
        notes.append(FEW_IMAGES_NOTE.format(plural(count, "image")) + advice)
    if config.conditional:
        from wgan.training.data.classes import describe_classes, imbalance

        counts = trainer.data.class_counts
        rows["classes"] = describe_classes(config.classes, counts)
        notes += [sentence] if (sentence := imbalance(config.classes, counts)) else []
    if notes:
        rows["note"] = ". ".join(notes)
    return {name: printable(text) for name, text in rows.items()}


def _parameters(network: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _print_dry_run(
    trainer: "Trainer", given: Given, surveys: "list[Survey]", as_json: bool
) -> None:
    from wgan.training.memory import estimate_memory, free_memory

    # As it was typed: the printed file is for this working folder.
    config = dataclasses.replace(trainer.config, data=given.get("data", trainer.config.data))
    rows = _description(trainer)
    for found in surveys:
        rows |= {name: printable(text) for name, text in found.rows().items()}
    needed, free = estimate_memory(trainer.state, config), free_memory(trainer.device)
    is_too_large = needed is not None and free is not None and needed > free
    # Ranks measure together or not at all.
    seconds = None if trainer.group.any(is_too_large) else trainer.measure_step()
    saved = trainer.run.checkpoints()
    left = max(0, config.steps - (trainer.run.step_of(saved[-1]) if saved else 0))
    if as_json:
        network_sizes = {
            "generator_parameters": _parameters(trainer.state.generator),
            "critic_parameters": _parameters(trainer.state.critic),
        }
        document = {
            "run": str(trainer.run.path),
            "resumed": trainer.run.has_begun,
            "images": trainer.data.count,  # null: streamed, and not counted
            "skipped": len(trainer.data.skipped),
            "data": surveys[0].to_dict() if surveys else None,
            **network_sizes,
            "device": str(trainer.device),
            "processes": trainer.group.size,
            "memory_bytes": needed,
            "seconds_per_step": seconds,
            "steps_left": left,
            "seconds_left": None if seconds is None else left * seconds,
            "note": rows.get("note"),
            "config": dataclasses.asdict(config),
        }
        click.echo(json.dumps(document, indent=2))
        return
    rows["skipped"] = plural(len(trainer.data.skipped), "damaged image")
    rows["memory"] = "unknown for these networks"
    if needed is not None:
        rows["memory"] = f"about {needed / MIB:,.0f} MiB on the {trainer.device.type}"
        rows["memory"] += ", in each process" if trainer.group.size > 1 else ""
        rows["memory"] += ", without the evaluation" if config.eval_every else ""
    rows["time"] = "unknown: more memory is needed than is free"
    if seconds is not None:
        rows["time"] = f"about {clock_time(left * seconds)} for {plural(left, 'step')}"
        rows["time"] += f", {seconds:.2g} s each, without previews and checkpoints"
    click.echo("".join(f"# {name:10}{text}\n" for name, text in rows.items()))
    click.echo(to_toml(config, ["steps"] if config.minutes else []), nl=False)


def _train(trainer: "Trainer", stop: StopFlag) -> None:
    figures = ""
    begun: tuple[int, float] | None = None  # step and time after the first step, a slow one
    has_shown_end = False
    with Progress(trainer.config.steps, "training", "steps", done=trainer.step) as progress:
        for metrics in trainer.train(should_stop=stop.is_set):
            if metrics is not None:
                figures = f"W {metrics.wasserstein:.3g}"
                if metrics.gradient_penalty is not None:
                    figures += f"  penalty {metrics.gradient_penalty:.3g}"
                for name, value in (("FID", metrics.fid), ("KID x1000", metrics.kid)):
                    if value is not None:
                        figures += f"  {name} {value:.4g}"
                figures += f"  {metrics.images_per_second:.0f} images/s"  # last: may not fit
            progress.total = trainer.config.steps  # --minutes changes it
            progress.advance(1, figures)
            now = time.monotonic()
            if begun is None:
                begun = trainer.step, now
            steps, seconds = trainer.step - begun[0], now - begun[1]
            # A GPU runs behind its host, which waits for it when it writes metrics.
            if not has_shown_end and steps > 0 and (metrics is not None or seconds > END_AFTER_S):
                has_shown_end = True
                progress.clear()
                left = (trainer.config.steps - trainer.step) * seconds / steps
                click.echo(f"{'end':10}{_estimated_end(left)}")


def _estimated_end(seconds: float) -> str:
    """Return when a run ends: `"about 21:35, in 0:06:31"`, with the date unless it is today."""
    now = dt.datetime.now().astimezone()
    try:
        end = now + dt.timedelta(seconds=seconds)
    except OverflowError:
        return "in more than 100 years"
    date = "" if end.date() == now.date() else f"{end:%Y-%m-%d} "
    return f"about {date}{end:%H:%M}, in {clock_time(seconds)}"


def _print_next_commands(trainer: "Trainer", start: int, given: Given) -> None:
    path, step, steps = trainer.run.path, trainer.step, trainer.config.steps
    run = shell_quote(path)
    if step == 0:
        click.echo("stopped before the first step; the same command starts the run")
        return
    if step < steps:
        click.echo(f"stopped and saved at step {step} of {steps}; the same command resumes it")
        return
    images = printable(path / "previews")
    if step == start:
        click.echo(f"nothing to do: the run is done, at step {step}; images: {images}")
    else:
        click.echo(f"at step {step} of {steps}; images: {images}")
    if trainer.best is not None:
        best = trainer.best
        click.echo(
            f"best {best.metric}: {best.value:.4g} at step {best.step}; export it with"
            f"  wgan export {run} --checkpoint best"
        )
    more = f"--steps {min(10 * step, MAX_STEPS)}"
    if trainer.config.minutes:
        more = f"--minutes {10 * trainer.config.minutes:g}"
    longer = f"--run {run} {more}"
    click.echo(f"Longer:  wgan train {longer}{_repeated_options(given)}")
    click.echo("On your own images:  wgan train FOLDER --size 64 --width 64 --steps 50000")


def _repeated_options(given: Given) -> str:
    """Return the options that a run's folder does not hold and that a longer run needs again."""
    words: list[str] = []
    for name, value in {**given.of(ExecutionConfig), "arch": given.get("arch")}.items():
        owner = TrainConfig if name == "arch" else ExecutionConfig
        if name == "run" or value is None or value is False or value in ARCHITECTURES:
            continue
        for each in value if isinstance(value, tuple) else (value,):
            words += [flag(name, owner)] if value is True else [flag(name, owner), str(each)]
    return "".join(f" {shell_quote(word)}" for word in words)
