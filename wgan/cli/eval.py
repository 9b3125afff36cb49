"""`wgan eval`."""

import json

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.cli.skipped import report_skipped
from wgan.evaluation import EvalConfig, evaluate
from wgan.text import printable


@click.command(cls=ConfigCommand)
@protected("PyTorch or ONNX Runtime")
@config_options(EvalConfig)
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON.")
def eval(given: Given, as_json: bool) -> None:  # noqa: A001 - its name
    """Measure generators by FID, KID, recall and more.

    Runs, checkpoints and exported files, of any format, are compared on the same seeds; by default
    the latest run. docs/evaluating.md says what each number means and costs.
    """
    config = given.make(EvalConfig)
    evaluation = evaluate(config, progress=True)
    report_skipped(evaluation.skipped)
    if as_json:
        click.echo(json.dumps(evaluation.to_dict()))
    else:
        click.echo("\n".join(map(printable, [evaluation.headline(), *evaluation.table()])))
    if evaluation.neighbours is not None:
        last = config.seed + len(evaluation.neighbours.generated) - 1
        click.echo(
            f"{config.neighbours}: seeds {config.seed} to {last}, each beside the nearest of"
            f" {evaluation.reference.count:,} real images; the distance to the first is"
            f" {evaluation.neighbours.ratio:.2f} of that between real images (near 0: memorised)",
            err=True,
        )
