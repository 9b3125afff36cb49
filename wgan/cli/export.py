"""`wgan export`."""

from pathlib import Path

import click


@click.command()
@click.argument(
    "source", metavar="[RUN|CHECKPOINT]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript"]),
    multiple=True,
    default=["onnx"],
    show_default=True,
    help="What to write; may be given more than once.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write, or a folder for it.  [default: generator.onnx or generator.ts in the"
    " run's folder]",
)
def export(source: Path | None, formats: tuple[str, ...], output: Path | None) -> None:
    """Write a generator as one self-describing file, proved equal to PyTorch.

    The source is a run's folder, whose newest checkpoint is taken, or one checkpoint; without it,
    the run trained last. What is written are the averaged (EMA) weights. An export that does not
    draw what PyTorch draws is refused, and leaves no file.
    """
    from wgan.export.places import choose_checkpoint, choose_places, remember
    from wgan.extras import needs_extra

    # Places first: a wrong path is told at once, not after PyTorch has loaded.
    checkpoint_path = choose_checkpoint(source)
    places = choose_places(formats, output, checkpoint_path)
    with needs_extra("export", purpose="exporting"):
        from wgan.export.exporting import export as write
        from wgan.training.checkpoint import Checkpoint

    checkpoint = Checkpoint.load(checkpoint_path)
    for kind, path in places.items():
        receipt = write(checkpoint, kind, path).receipt
        remember(kind, path)
        click.echo(
            f"{path}: step {checkpoint.step}; within {receipt.float_difference:.1e} of PyTorch"
            f" (images) and {receipt.pixel_difference} of 255 (pixels), seeds {receipt.seeds}"
        )
