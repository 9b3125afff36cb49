"""`wgan export`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from wgan.model_file.manifest import Manifest


@click.command()
@click.argument(
    "source", metavar="[RUN|CHECKPOINT]", required=False, type=click.Path(path_type=Path)
)
@click.option(
    "--checkpoint",
    "asked",
    help="Of a run: latest, best (see train --eval-every), or a step.  [default: latest]",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["onnx", "torchscript", "pt2", "triton"]),
    multiple=True,
    default=["onnx"],
    show_default=True,
    help="What to write; may be given more than once. triton is a model repository for NVIDIA's"
    " server, a folder.",
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
    help="What an ONNX graph is optimised for.  [default: cpu; cuda with fp16]",
)
@click.option(
    "-o",
    "--output",
    help="The file to write, or a folder for it, ending in /.  [default: generator.onnx, .ts or"
    " .pt2 in the run's folder]",
)
@click.option(
    "--arch", help="package.module:function, where the run was trained with networks of your own."
)
@click.option("--tolerance-images", type=float, help="Largest difference of images, in [-1, 1].")
@click.option("--tolerance-pixels", type=int, help="Largest difference of pixels, of 255.")
@click.option("--tolerance-mean-pixels", type=float, help="Mean difference of pixels, of 255.")
@click.option("--tolerance-psnr", type=float, help="Lowest PSNR of pixels, in dB.")
def export(
    source: Path | None,
    asked: str | None,
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
    """Write a generator as one file, proved equal to PyTorch.

    The source is a run's folder, whose newest checkpoint is taken unless --checkpoint says
    otherwise, or one checkpoint; without it, the run trained last. What is written are the averaged
    (EMA) weights. An export that does not draw what PyTorch draws is refused, and leaves no file;
    the tolerances, by precision, are in docs/exporting.md, and an export that was given more says
    so in its manifest.
    """
    from wgan.errors import needs_extra
    from wgan.export.config import ExportConfig
    from wgan.export.formats.triton import write_repository
    from wgan.export.output_paths import choose_checkpoint, choose_places, choose_repository
    from wgan.files import make_folder
    from wgan.runs import Run, remember_export, which_checkpoint

    def config_of(kind: str) -> ExportConfig:
        return ExportConfig(
            format=kind,
            precision=precision,
            target=target or "",
            tolerance_images=tolerance_images,
            tolerance_pixels=tolerance_pixels,
            tolerance_mean_pixels=tolerance_mean_pixels,
            tolerance_psnr=tolerance_psnr,
        )

    which = which_checkpoint(asked, [source] if source else [])
    configs = [config_of(kind) for kind in dict.fromkeys(formats) if kind != "triton"]
    place = None if output is None else Path(output)
    if output is not None and output.endswith(("/", os.sep)) and "triton" not in formats:
        make_folder(Path(output))
    # Places first: a wrong path is told at once, not after PyTorch has loaded.
    checkpoint_path = choose_checkpoint(source, which)
    places = choose_places(configs, place, checkpoint_path) if configs else []
    repository = choose_repository(place, checkpoint_path) if "triton" in formats else None
    with needs_extra("export", purpose="exporting"):
        from wgan.export.exporter import export as write
        from wgan.training.checkpoint import Checkpoint, load_checkpoint
        from wgan.training.networks import load_architecture

    if source is not None and source.is_file():
        checkpoint = Checkpoint.load(source)
    else:
        checkpoint = load_checkpoint(Run(checkpoint_path.parent.parent), which)
    architecture = load_architecture(arch) if arch else None

    def tell(path: Path, config: ExportConfig, manifest: "Manifest") -> None:
        seen = manifest.receipt.seen
        click.echo(
            f"{path}: step {checkpoint.step}, {config.precision} for {config.target}; within"
            f" {seen.images:.1e} of PyTorch in float, {seen.pixels} of 255 in pixels,"
            f" {seen.psnr:.0f} dB"
        )

    for config, path in zip(configs, places, strict=True):
        tell(path, config, write(checkpoint, config, path, architecture))
        if config.format == "onnx":
            remember_export(path)
    if repository is not None:
        config = config_of("onnx")
        path, manifest = write_repository(
            repository,
            checkpoint.step,
            lambda path: write(checkpoint, config, path, architecture),
        )
        tell(path, config, manifest)
