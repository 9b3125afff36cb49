"""`wgan eval`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wgan.cli.caching import cache_options, choose_cache
from wgan.cli.process import guard
from wgan.cli.skipped import say_skipped
from wgan.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wgan.evaluation.features import Features
    from wgan.evaluation.generators import EvaluatedGenerator
    from wgan.training.data import Cache, InMemoryDataset, StreamingDataset, Transform


@click.command()
@click.argument(
    "sources", metavar="[RUN|CHECKPOINT|FILE]...", nargs=-1, type=click.Path(path_type=Path)
)
@click.option(
    "--checkpoint",
    "asked",
    help="Of each run: latest, best (see train --eval-every), or a step.  [default: latest]",
)
@click.option("--data", help="The real images, as for train.  [default: what the run learned]")
@click.option("-n", "--n", "count", default=10_000, show_default=True, help="Images drawn of each.")
@click.option(
    "--data-n", type=int, help="Real images looked at, evenly spaced.  [default: all of them]"
)
@click.option(
    "--metrics",
    help="Of fid, kid, is, precision, recall, density, coverage.  [default: all that there can be]",
)
@click.option(
    "--features",
    "network",
    default="inception",
    show_default=True,
    help="inception, or an ONNX file from pixels to vectors.",
)
@click.option(
    "--feature-range",
    metavar="LOW,HIGH",
    default="-1,1",
    show_default=True,
    help="Black and white for an ONNX file with float input.",
)
@click.option("--weights", type=click.Path(path_type=Path), help="Your copy of Inception's.")
@click.option("--download", is_flag=True, help="Fetch weights and data sets that are not there.")
@click.option(
    "--repeats", default=1, show_default=True, help="Times, each of new seeds: gives intervals."
)
@click.option("--seed", default=0, show_default=True, help="The first of all seeds.")
@click.option("--batch-size", default=64, show_default=True, help="Images drawn at a time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--arch", help="package.module:function, for checkpoints of networks of your own.")
@click.option(
    "--neighbours",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.png",
    help="Draw samples beside the nearest images of the data: was it learned by heart?",
)
@cache_options
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON.")
@click.pass_obj
def eval(  # noqa: A001 - a command's function bears its name
    owns_process: bool | None,
    sources: tuple[Path, ...],
    asked: str | None,
    data: str | None,
    count: int,
    data_n: int | None,
    metrics: str | None,
    network: str,
    feature_range: str,
    weights: Path | None,
    download: bool,
    repeats: int,
    seed: int,
    batch_size: int,
    device: str,
    arch: str | None,
    neighbours: Path | None,
    cache_path: Path | None,
    cache_size: float | None,
    cache_limit: float | None,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Say how good generators are, by FID, KID, recall and more.

    They are held against real images. Runs, checkpoints and exported files, of any format, are
    judged by the same seeds, beside each other; by default the run trained last.
    docs/evaluating.md says what each number means and costs.
    """
    guard(owns_process, "PyTorch or ONNX Runtime")
    from wgan.errors import UsageError
    from wgan.extras import needs_extra
    from wgan.files import check_place
    from wgan.runs import which_checkpoint

    with needs_extra("train", "eval", purpose="evaluating"):
        from wgan.evaluation.evaluate import (
            EvalConfig,
            check_counts,
            choose_metrics,
            judge,
            parse_metrics,
        )
        from wgan.evaluation.generators import open_candidate
        from wgan.evaluation.opening import (
            choose_data,
            choose_transform,
            open_features,
            provider_for,
        )
        from wgan.evaluation.reference_statistics import load_reference, statistics_folder
        from wgan.evaluation.report import as_fields, headline, table
        from wgan.runtime.generator import check_batch_size
        from wgan.runtime.image_output import parse_value_range
        from wgan.training.device import pick_device
        from wgan.training.networks import load_architecture

    which = which_checkpoint(asked, sources)
    check_counts(count, repeats, seed, data_n)
    check_batch_size(batch_size)
    wanted = None if metrics is None else parse_metrics(metrics)
    if neighbours is not None and len(sources) > 1:
        raise UsageError("--neighbours shows one generator: name one")
    if neighbours is not None:
        check_place(neighbours)
    architecture = load_architecture(arch) if arch else None
    where = pick_device(device)
    features = open_features(
        network,
        where,
        provider=provider_for(device),
        value_range=parse_value_range(feature_range),
        weights=weights,
        download=download,
    )
    names = choose_metrics(wanted, features)
    candidates = [
        open_candidate(
            source,
            where,
            batch_size,
            which=which,
            provider=provider_for(device),
            architecture=architecture,
        )
        for source in sources or (None,)
    ]
    transform = choose_transform(candidates, features)
    named = choose_data(candidates, data)
    cache = choose_cache(cache_path, cache_size, cache_limit, no_cache)
    real = _load(named, transform, download, cache)
    reference = load_reference(
        real,
        features,
        data_n,
        statistics_folder(cache),
        lambda total: Progress(total, "data", "images"),
    )
    _warn(count, len(reference.moments.mean), names)
    plan = EvalConfig(names, count, repeats, seed)
    with Progress(plan.images * len(candidates), "judging", "images") as progress:
        results = [
            judge(candidate, reference, features, plan, progress.advance)
            for candidate in candidates
        ]
    if as_json:
        fields = as_fields(results, reference, features, plan, named, real.sha256)
        click.echo(json.dumps(fields))
    else:
        told = [headline(reference, features, plan, named), *table(results, names)]
        click.echo("\n".join(told))
    if neighbours is not None:
        _draw_neighbours(neighbours, candidates[0], real, reference.count, features, seed)


def _load(
    data: str, transform: "Transform", download: bool, cache: "Cache | None"
) -> "InMemoryDataset | StreamingDataset":
    from wgan.evaluation.opening import open_images

    with Progress(0, "decoding", "images") as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.advance(done - progress.done)

        loaded = open_images(
            data,
            transform,
            download=download,
            cache=cache,
            progress=show,
        )
    say_skipped(loaded.skipped)
    return loaded


def _warn(count: int, numbers: int, names: "Sequence[str]") -> None:
    if "fid" in names and count <= numbers:
        click.echo(
            f"Warning: the FID of {count:,} images in {numbers:,} numbers is mostly bias: compare"
            " it at the same -n alone, or draw more",
            err=True,
        )


def _draw_neighbours(
    out: Path,
    candidate: "EvaluatedGenerator",
    data: "InMemoryDataset | StreamingDataset",
    count: int,
    features: "Features",
    seed: int,
) -> None:
    import numpy as np

    from wgan.evaluation.neighbours import SHOWN, find_neighbours
    from wgan.files import write_whole
    from wgan.images import encode

    samples = np.concatenate(list(candidate.draw(range(seed, seed + SHOWN))))
    with Progress(count, "searching", "images") as progress:
        found = find_neighbours(samples, data, count, features, progress.advance)
    write_whole(out, encode(found.sheet()))
    click.echo(
        f"{out}: seeds {seed} to {seed + SHOWN - 1}, each beside the nearest of {count:,} real"
        f" images; the distance to the first is {found.ratio:.2f} of what real images have"
        " (near 0: learned by heart)",
        err=True,
    )
