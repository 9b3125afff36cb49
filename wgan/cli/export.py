"""`wgan export`."""

from pathlib import Path

import click


@click.command()
@click.argument(
    "source", metavar="[RUN|CHECKPOINT]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--checkpoint",
    help="Of a run: latest, best (see train --eval-every), or a step.  [default: latest]",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript", "pt2", "triton"]),
    multiple=True,
    default=["onnx"],
    show_default=True,
    help="What to write; may be repeated. triton is a model repository, a folder, for NVIDIA's"
    " server.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of weights and arithmetic. fp16 is for GPUs and slower on CPUs; int8 is for CPUs.",
)
@click.option(
    "--target",
    type=click.Choice(["cpu", "cuda", "portable"]),
    help="What an ONNX graph is optimised for; cuda is the old name of portable."
    "  [default: cpu; portable with fp16]",
)
@click.option(
    "-o",
    "--output",
    help="The file to write, or a folder for it, ending in /.  [default: generator.onnx, .ts or"
    " .pt2 in the run's folder]",
)
@click.option(
    "--arch", help="package.module:function, for a run that was trained with your own networks."
)
@click.option("--tolerance-images", type=float, help="Largest difference of images, in [-1, 1].")
@click.option("--tolerance-pixels", type=int, help="Largest difference of pixels, of 255.")
@click.option("--tolerance-mean-pixels", type=float, help="Mean difference of pixels, of 255.")
@click.option("--tolerance-psnr", type=float, help="Lowest PSNR of pixels, in dB.")
def export(
    source: Path | None,
    checkpoint: str | None,
    formats: tuple[str, ...],
    precision: str,
    target: str | None,
    output: str | None,
    arch: str | None,
    tolerance_images: float | None,
    tolerance_pixels: int | None,
    tolerance_mean_pixels: float | None,
    tolerance_psnr: float | None,
) -> None:
    """Export a generator as one file that is proved to match PyTorch.

    The source is a run's folder or a checkpoint, by default the latest run. Of a run, the newest
    checkpoint is exported unless --checkpoint names another. The weights are the moving average
    (EMA). An export whose images differ from PyTorch's by more than the tolerance is refused and
    leaves no file. docs/exporting.md lists the tolerances; the manifest records looser ones.
    """
    from wgan.export import ExportConfig, ExportedFile
    from wgan.export import export as export_generator

    def show(file: ExportedFile) -> None:
        manifest, seen = file.manifest, file.manifest.receipt.seen
        click.echo(
            f"{file.path}: step {manifest.step}, {manifest.precision} for {manifest.target}; within"
            f" {seen.images:.1e} of PyTorch in float, {seen.pixels} of 255 in pixels,"
            f" {seen.psnr:.0f} dB"
        )

    config = ExportConfig(
        source=source,
        checkpoint=checkpoint,
        formats=formats,
        precision=precision,
        target=target,
        output=output,
        arch=arch,
        tolerance_images=tolerance_images,
        tolerance_pixels=tolerance_pixels,
        tolerance_mean_pixels=tolerance_mean_pixels,
        tolerance_psnr=tolerance_psnr,
    )
    export_generator(config, on_file=show)
