"""`wgan train`."""

import contextlib
import dataclasses
import io
import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wgan.cli.caching import cache_options, choose_cache
from wgan.cli.skipped import say_skipped
from wgan.errors import needs_extra
from wgan.progress import Progress
from wgan.stop import StopFlag, install_stop_handler

if TYPE_CHECKING:
    import torch

    from wgan.evaluation.evaluator import FixedSeedEvaluator
    from wgan.evaluation.features import Features
    from wgan.training.config import TrainConfig
    from wgan.training.data import Cache, Dataset
    from wgan.training.distributed.process_group import ProcessGroup
    from wgan.training.networks import Architecture
    from wgan.training.resolve import ResolvedRun
    from wgan.training.trainer import Trainer

logger = logging.getLogger(__name__)

# Settings have no default here: what is not given comes from the run, the recipe or TrainConfig.
SETTINGS = (
    click.option("--recipe", help="wgan-gp, article, wgan-clip or resnet.  [wgan-gp]"),
    click.option("--size", type=int, help="Height and width in pixels: 32, 64, 128.  [32]"),
    click.option("--channels", type=int, help="1 grey, 3 colour.  [as the data]"),
    click.option(
        "--crop", type=int, help="Pixels cut from the middle before resizing; 0: all.  [0]"
    ),
    click.option("--background", help="What transparency is laid over, name or #rrggbb.  [white]"),
    click.option("--flip/--no-flip", default=None, help="Mirror images at random, or not.  [no]"),
    click.option("--shuffle-buffer", type=int, help="Streamed images mixed at a time.  [5000]"),
    click.option("--arch", help="dcgan, resnet, or your own package.module:function.  [dcgan]"),
    click.option("--latent-dim", type=int, help="Numbers in a latent.  [128]"),
    click.option("--width", type=int, help="Feature maps of the critic's first layer.  [16]"),
    click.option("--critic-norm", help="none, layer, instance or batch.  [none]"),
    click.option("--constraint", help="penalty, one-sided, clip or spectral.  [penalty]"),
    click.option("--gp-weight", type=float, help="Weight of the gradient penalty.  [10]"),
    click.option("--gp-every", type=int, help="Penalty in every so many-th critic update.  [1]"),
    click.option("--clip-limit", type=float, help="Largest weight under clip.  [0.01]"),
    click.option("--drift", type=float, help="Weight of the mean square real score.  [0]"),
    click.option("--steps", type=int, help="Generator updates, those done included.  [700]"),
    click.option(
        "--batch-size", type=int, help="Images in a critic update, of all processes.  [64]"
    ),
    click.option("--accumulate", type=int, help="Parts a batch is taken in, to save memory.  [1]"),
    click.option("--n-critic", type=int, help="Critic updates in a step.  [5; article 3]"),
    click.option("--optimizer", help="adam or rmsprop.  [adam]"),
    click.option(
        "--learning-rate", "--lr", type=float, help="Of both networks.  [2e-4; article 1e-4]"
    ),
    click.option("--decay-steps", type=int, help="Steps until the rate is 0; 0: never.  [0]"),
    click.option("--beta1", type=float, help="Adam's decay of the mean.  [0; article 0.5]"),
    click.option("--beta2", type=float, help="Adam's decay of the square.  [0.9; article 0.999]"),
    click.option("--ema-half-life", type=int, help="Images; 0: no averaging.  [10000]"),
    click.option("--precision", help="fp32, tf32 (a GPU's quick float32) or bf16.  [tf32]"),
    click.option(
        "--compile/--no-compile",
        default=None,
        hidden=True,  # accepted and ignored for one release
    ),
    click.option("--seed", type=int, help="Of weights, noise and the data's order.  [0]"),
    click.option("--holdout", type=float, help="Share kept to test the critic on.  [0]"),
    click.option("--checkpoint-every", type=int, help="Steps.  [250]"),
    click.option("--preview-every", type=int, help="Steps.  [100]"),
    click.option("--log-every", type=int, help="Steps.  [10]"),
    click.option("--keep", type=int, help="Newest checkpoints that stay; 0: all.  [0]"),
    click.option("--keep-every", type=int, help="Every so many-th stays too; 0: none.  [0]"),
    click.option("--eval-every", type=int, help="Steps between two measurements; 0: none.  [0]"),
    click.option("--eval-metric", help="fid or kid; the best checkpoint is kept.  [fid]"),
    click.option("--eval-features", help="inception, or an ONNX file (see eval).  [inception]"),
    click.option("--eval-n", type=int, help="Images drawn for a measurement.  [2000]"),
)


def _settings(command: Any) -> Any:
    for option in reversed(SETTINGS):
        command = option(command)
    return command


@click.command()
@click.argument("data", required=False)
@click.option(
    "--run",
    "run_path",
    type=click.Path(path_type=Path),
    help="The run's folder.  [runs/DATA-SIZE-RECIPE]",
)
@_settings
@click.option(
    "--tracker",
    "trackers",
    multiple=True,
    help="tensorboard, wandb or none; may be repeated.  [none]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option(
    "--data-on-device",
    default="auto",
    show_default=True,
    help="Keep all images in the GPU's memory: auto (where they fit), yes or no.",
)
@click.option(
    "--cuda-graph",
    "--capture",
    "cuda_graph",
    default="auto",
    show_default=True,
    help="Record a step as a CUDA graph: auto, yes or no.",
)
@click.option("--download", is_flag=True, help="Fetch a data set by name if it is not there.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Inception's, where --eval-every needs them."
)
@click.option("--allow-damaged", is_flag=True, help="Go on when over 1 % of the data is damaged.")
@cache_options
@click.option(
    "--dist-timeout",
    default=600.0,
    show_default=True,
    help="Seconds; under torchrun, after which a process that does not answer is given up.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; only decodes the data.")
def train(
    data: str | None,
    run_path: Path | None,
    trackers: tuple[str, ...],
    device: str,
    data_on_device: str,
    cuda_graph: str,
    download: bool,
    weights: Path | None,
    allow_damaged: bool,
    cache_path: Path | None,
    cache_size: float | None,
    cache_limit: float | None,
    no_cache: bool,
    dist_timeout: float,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Train a generator on DATA. The same command goes on where a run stopped.

    DATA is a folder of images at any depth, a .zip or .tar of them, a folder or file of idx
    data (MNIST, Fashion-MNIST), or a name: glyphs (built in, the default), mnist, fashion-mnist,
    cifar10, celeba, stl10, svhn. Shards as wgan prepare writes them, named by a pattern such as
    'shards/{000..099}.tar', are streamed.

    Several GPUs or machines: torchrun --nproc-per-node N -m wgan train ...
    """
    with needs_extra("train", purpose="training"):
        from wgan.training.device import check_options
        from wgan.training.distributed.rendezvous import join
        from wgan.training.monitoring.trackers import make_trackers
        from wgan.training.networks import load_architecture
        from wgan.training.resolve import resolve_run
        from wgan.training.trainer import Trainer

    if settings.pop("compile"):
        logger.warning("--compile is ignored: wgan no longer compiles steps")
    given = {name: value for name, value in {"data": data, **settings}.items() if value is not None}
    cache = choose_cache(cache_path, cache_size, cache_limit, no_cache)
    with join(dist_timeout) as group, _leader_speaks(group):
        where = group.device(device)
        planned = resolve_run(given, run_path, download, group)
        config = planned.config
        # What can be wrong is looked at before the data is decoded, which may take long.
        architecture = load_architecture(given["arch"]) if "arch" in given else None
        watchers = make_trackers(trackers, planned.run, config) if group.is_main else []
        if group.is_main:
            watched = any(watcher.watches_gradients for watcher in watchers)
            check_options(config, where, data_on_device, cuda_graph, watched, group.size)
        judged = group.is_main and config.eval_every > 0
        features = _open_features(config, where, device, weights, download) if judged else None
        loaded = group.local_main_first("decode", lambda: _load(planned, cache, allow_damaged))
        say_skipped(loaded.skipped)
        judge = _make_judge(config, features, loaded, cache) if features and not dry_run else None
        group.connect(where)
        if dry_run and not group.is_main:
            return
        session = Trainer(
            planned, loaded, where, architecture, watchers, judge, data_on_device, cuda_graph, group
        )
        _describe(planned, session)
        if dry_run:
            _describe_cost(session, architecture)
            click.echo(config.to_json(), nl=False)
            return
        with session, install_stop_handler() as stop:
            _train(session, stop)
        _say_what_next(session)
        if not group.is_main:
            return
    if session.step < session.config.steps:  # stopped, by a signal to this rank or another
        sys.exit(128 + (stop.number or signal.SIGTERM))


@contextmanager
def _leader_speaks(group: "ProcessGroup") -> Iterator[None]:
    """Keep the processes that do not lead quiet; an error of theirs is still told."""
    if group.is_main:
        yield
        return
    logging.disable(logging.WARNING)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _load(planned: "ResolvedRun", cache: "Cache | None", allow_damaged: bool) -> "Dataset":
    from wgan.training.data import Transform, load_data

    config = planned.config
    with Progress(planned.source.count or 0, "decoding", "images") as progress:
        return load_data(
            planned.source,
            Transform.from_config(config),
            allow_damaged=allow_damaged,
            progress=progress.update,
            cache=cache,
            buffer=config.shuffle_buffer,
        )


def _open_features(
    config: "TrainConfig",
    where: "torch.device",
    device: str,
    weights: Path | None,
    download: bool,
) -> "Features":
    with needs_extra("eval", purpose="--eval-every"):
        from wgan.evaluation.features import open_features, provider_for

    return open_features(
        config.eval_features,
        where,
        provider=provider_for(device),
        weights=weights,
        download=download,
    )


def _make_judge(
    config: "TrainConfig",
    features: "Features",
    data: "Dataset",
    cache: "Cache | None",
) -> "FixedSeedEvaluator":
    from wgan.evaluation.evaluator import FixedSeedEvaluator
    from wgan.evaluation.reference_statistics import load_reference, statistics_folder
    from wgan.evaluation.statistics import MAX_FEATURES

    real = load_reference(data, features, MAX_FEATURES, statistics_folder(cache), progress=True)
    return FixedSeedEvaluator(config.eval_metric, real, data.sha256, features, config.eval_n)


def _describe(planned: "ResolvedRun", session: "Trainer") -> None:
    config, state = session.config, session.state
    click.echo(f"run       {session.run.path}" + ("  (goes on)" if planned.resumes else ""))
    count = "streamed" if session.data.count is None else f"{session.data.count:,}"
    click.echo(
        f"data      {config.data}: {count} images,"
        f" {config.size}x{config.size}, {'grey' if config.channels == 1 else 'colour'}"
    )
    for name, network in (("generator", state.generator), ("critic", state.critic)):
        parameters = sum(parameter.numel() for parameter in network.parameters())
        click.echo(f"{name:9} {parameters:,} parameters")
    shared = f", {session.group.size} processes" if session.group.size > 1 else ""
    click.echo(f"device    {session.device}{shared}")


def _describe_cost(session: "Trainer", architecture: "Architecture | None") -> None:
    """What only a dry run says, since it takes a second to find."""
    from wgan.host import MIB
    from wgan.training.memory import memory_estimate
    from wgan.training.networks import build
    from wgan.training.state import TrainState

    click.echo(f"skipped   {len(session.data.skipped):,} damaged images")
    share, state, size = session.config, session.state, session.group.size
    if size > 1:  # a process's share, with networks that wait for no other process
        share = dataclasses.replace(share, batch_size=share.batch_size // size)
        state = TrainState(*build(share, architecture), share, session.device)
    needed = memory_estimate(state, share)
    if needed is None:
        click.echo("memory    cannot be told for these networks")
    else:
        more = ", in each process" if size > 1 else ""
        if session.config.eval_every:
            more += ", and what judging takes"
        click.echo(f"memory    about {needed / MIB:,.0f} MiB on the {session.device.type}{more}")


def _train(session: "Trainer", stop: StopFlag) -> None:
    figures = ""
    with Progress(session.config.steps, "training", "steps", done=session.step) as progress:
        for metrics in session.train(should_stop=stop.is_set):
            if metrics is not None:
                figures = f"{metrics.images_per_second:.0f} images/s  W {metrics.wasserstein:.3g}"
                if metrics.gradient_penalty is not None:
                    figures += f"  penalty {metrics.gradient_penalty:.3g}"
                for name, value in (("FID", metrics.fid), ("KID x1000", metrics.kid)):
                    if value is not None:
                        figures += f"  {name} {value:.4g}"
            progress.advance(1, figures)


def _say_what_next(session: "Trainer") -> None:
    run, step, steps = session.run.path, session.step, session.config.steps
    if step < steps:
        click.echo(f"stopped and saved at step {step} of {steps}; the same command goes on")
        return
    click.echo(f"at step {step} of {steps}; images: {run / 'previews'}")
    if session.best is not None:
        best = session.best
        click.echo(
            f"best {best.metric}: {best.value:.4g} at step {best.step}; export it with"
            f"  wgan export {shlex.quote(str(run))} --checkpoint best"
        )
    click.echo(
        f"Longer:  wgan train --run {shlex.quote(str(run))} --steps {10 * max(step, steps)}"
        "    On your own images:  wgan train FOLDER --size 64 --width 64 --steps 50000"
    )
