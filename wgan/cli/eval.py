"""`wgan eval`."""

import json
from pathlib import Path

import click

from wgan.cli.options import ConfigCommand, Given, config_options
from wgan.cli.process import guard
from wgan.cli.skipped import say_skipped
from wgan.training.config import CacheConfig


@click.command(cls=ConfigCommand)
@click.argument(
    "generators", metavar="[RUN|CHECKPOINT|FILE]...", nargs=-1, type=click.Path(path_type=Path)
)
@click.option(
    "--checkpoint",
    help="Of each run: latest, best (see train --eval-every), or a step.  [default: latest]",
)
@click.option("--data", help="The real images, as for train.  [default: what the run learned]")
@click.option("-n", "--n", default=10_000, show_default=True, help="Images generated of each.")
@click.option(
    "--data-n", type=int, help="Real images to use, evenly spaced.  [default: all of them]"
)
@click.option(
    "--metrics",
    help="Of fid, kid, is, precision, recall, density, coverage.  [default: all possible ones]",
)
@click.option(
    "--features",
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
@click.option("--download", is_flag=True, help="Download missing weights and data sets.")
@click.option(
    "--repeats", default=1, show_default=True, help="Repeats with new seeds; gives intervals."
)
@click.option("--seed", default=0, show_default=True, help="The first of all seeds.")
@click.option("--batch-size", default=64, show_default=True, help="Images generated at a time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--arch", help="package.module:function, for checkpoints of networks of your own.")
@click.option("--trust", is_flag=True, help="Open TorchScript and pt2 files, which run code.")
@click.option(
    "--neighbours",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.png",
    help="Write generated images beside the nearest real ones: was the data memorised?",
)
@config_options(CacheConfig)
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON.")
@click.pass_obj
def eval(  # noqa: A001 - the name of the command
    owns_process: bool | None,
    /,
    given: Given,
    metrics: str | None,
    feature_range: str,
    as_json: bool,
    **options: object,
) -> None:
    """Measure generators by FID, KID, recall and more.

    Runs, checkpoints and exported files, of any format, are compared on the same seeds; by default
    the latest run. docs/evaluating.md says what each number means and costs.
    """
    guard(owns_process, "PyTorch or ONNX Runtime")
    from wgan.evaluation import EvalConfig, evaluate
    from wgan.evaluation.config import parse_metrics
    from wgan.runtime.image_output import parse_value_range

    config = EvalConfig(
        metrics=None if metrics is None else parse_metrics(metrics),
        feature_range=parse_value_range(feature_range),
        **given,
        **options,  # type: ignore[arg-type]  # the other options have the names of its fields
    )
    evaluation = evaluate(config, progress=True)
    say_skipped(evaluation.skipped)
    if as_json:
        click.echo(json.dumps(evaluation.to_dict()))
    else:
        click.echo("\n".join([evaluation.headline(), *evaluation.table()]))
    if evaluation.neighbours is not None:
        last = config.seed + len(evaluation.neighbours.generated) - 1
        click.echo(
            f"{config.neighbours}: seeds {config.seed} to {last}, each beside the nearest of"
            f" {evaluation.reference.count:,} real images; the distance to the first is"
            f" {evaluation.neighbours.ratio:.2f} of that between real images (near 0: memorised)",
            err=True,
        )
