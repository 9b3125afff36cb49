"""`wgan train`."""

import contextlib
import io
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wgan.cli.options import ConfigCommand, Given, config_options
from wgan.cli.skipped import say_skipped
from wgan.errors import needs_extra
from wgan.options import to_toml
from wgan.progress import Progress
from wgan.stop import StopFlag, install_stop_handler
from wgan.training.config import RECIPES, ExecutionConfig, TrainConfig

if TYPE_CHECKING:
    import torch

    from wgan.evaluation.evaluator import FixedSeedEvaluator
    from wgan.training.data import Dataset
    from wgan.training.distributed.process_group import ProcessGroup
    from wgan.training.setup import EvaluatorFn
    from wgan.training.trainer import Trainer

logger = logging.getLogger(__name__)


@click.command(cls=ConfigCommand)
@config_options(TrainConfig, ExecutionConfig, presets=RECIPES)
@click.option("--compile/--no-compile", default=None, hidden=True)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only decode the data and print what would be done, as a file for --config.",
)
def train(given: Given, compile: bool | None, dry_run: bool) -> None:  # noqa: A002
    """Train a generator on DATA. The same command resumes a stopped run.

    DATA is a folder of images at any depth, a .zip or .tar of them, a folder or file of idx
    data (MNIST, Fashion-MNIST), or a name: glyphs (built in, the default), mnist, fashion-mnist,
    cifar10, celeba, stl10, svhn. Shards that wgan prepare wrote, named by a pattern such as
    'shards/{000..099}.tar', are streamed.

    Several GPUs or machines: torchrun --nproc-per-node N -m wgan train ...
    """
    with needs_extra("train", purpose="training"):
        from wgan.training.distributed.rendezvous import join
        from wgan.training.setup import make_trainer

    if compile is not None:
        logger.warning("--compile is ignored: wgan no longer compiles steps")
    execution = given.make(ExecutionConfig)
    with join(execution.dist_timeout) as group, _only_main_speaks(group):
        open_evaluator = None if dry_run else _open_evaluator
        trainer = make_trainer(given.of(TrainConfig), execution, group, open_evaluator)
        say_skipped(trainer.data.skipped)
        if dry_run:
            _print_dry_run(trainer)
            return
        for name, text in _description(trainer).items():
            click.echo(f"{name:10}{text}")
        with trainer, install_stop_handler() as stop:
            _train(trainer, stop)
        _print_next_commands(trainer)
        if not group.is_main:
            return
    if trainer.step < trainer.config.steps:  # stopped by a signal, here or in another process
        sys.exit(128 + (stop.number or signal.SIGTERM))


@contextmanager
def _only_main_speaks(group: "ProcessGroup") -> Iterator[None]:
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
    config, state = trainer.config, trainer.state
    count = "streamed" if trainer.data.count is None else f"{trainer.data.count:,}"
    colours = "grey" if config.channels == 1 else "colour"
    rows = {
        "run": f"{trainer.run.path}" + ("  (resumed)" if trainer.run.config.exists() else ""),
        "data": f"{config.data}: {count} images, {config.size}x{config.size}, {colours}",
    }
    for name, network in (("generator", state.generator), ("critic", state.critic)):
        rows[name] = f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters"
    shared = f", {trainer.group.size} processes" if trainer.group.size > 1 else ""
    return {**rows, "device": f"{trainer.device}{shared}"}


def _print_dry_run(trainer: "Trainer") -> None:
    from wgan.host import MIB
    from wgan.training.memory import estimate_memory

    needed = estimate_memory(trainer.state, trainer.config)
    memory = "unknown for these networks"
    if needed is not None:
        memory = f"about {needed / MIB:,.0f} MiB on the {trainer.device.type}"
        memory += ", in each process" if trainer.group.size > 1 else ""
        memory += ", without the evaluation" if trainer.config.eval_every else ""
    rows = {
        **_description(trainer),
        "skipped": f"{len(trainer.data.skipped):,} damaged images",
        "memory": memory,
    }
    click.echo("".join(f"# {name:10}{text}\n" for name, text in rows.items()))
    click.echo(to_toml(trainer.config), nl=False)


def _train(trainer: "Trainer", stop: StopFlag) -> None:
    figures = ""
    with Progress(trainer.config.steps, "training", "steps", done=trainer.step) as progress:
        for metrics in trainer.train(should_stop=stop.is_set):
            if metrics is not None:
                figures = f"{metrics.images_per_second:.0f} images/s  W {metrics.wasserstein:.3g}"
                if metrics.gradient_penalty is not None:
                    figures += f"  penalty {metrics.gradient_penalty:.3g}"
                for name, value in (("FID", metrics.fid), ("KID x1000", metrics.kid)):
                    if value is not None:
                        figures += f"  {name} {value:.4g}"
            progress.advance(1, figures)


def _print_next_commands(trainer: "Trainer") -> None:
    run, step, steps = trainer.run.path, trainer.step, trainer.config.steps
    if step < steps:
        click.echo(f"stopped and saved at step {step} of {steps}; the same command resumes it")
        return
    click.echo(f"at step {step} of {steps}; images: {run / 'previews'}")
    if trainer.best is not None:
        best = trainer.best
        click.echo(
            f"best {best.metric}: {best.value:.4g} at step {best.step}; export it with"
            f"  wgan export {shlex.quote(str(run))} --checkpoint best"
        )
    click.echo(
        f"Longer:  wgan train --run {shlex.quote(str(run))} --steps {10 * max(step, steps)}"
        "    On your own images:  wgan train FOLDER --size 64 --width 64 --steps 50000"
    )
