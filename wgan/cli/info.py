"""`wgan info`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wgan.cli.process import guard

if TYPE_CHECKING:
    from wgan.model_file.manifest import Distance


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.option(
    "--device",
    help="Open an ONNX file too, and say what runs it: auto, cpu, cuda, ... (see sample).",
)
@click.pass_obj
def info(owns_process: bool | None, file: Path, as_json: bool, device: str | None) -> None:
    """Describe an exported FILE. It is ONNX, TorchScript or pt2."""
    if device is not None:  # else nothing but our own Python looks at the file
        guard(owns_process)
    from wgan.errors import ModelFileError
    from wgan.model_file.reading import describe

    description = describe(file)
    manifest = description.manifest
    if manifest is None:
        raise ModelFileError(f"{file} has no manifest: it was not exported by wgan")
    if as_json:
        click.echo(manifest.to_json())
        return
    receipt = manifest.receipt
    rows = {
        "file": f"{file} ({description.format})",
        "images": f"{manifest.width}x{manifest.height}, {manifest.channels} channels",
        "latent_dim": manifest.latent_dim,
        "precision": manifest.precision,
        "target": manifest.target,
        **({} if manifest.opset is None else {"opset": manifest.opset}),
        "training step": manifest.step,
        "weights": f"sha256 {manifest.weights_sha256}",
        "wgan": manifest.wgan_version,
        "proved on": f"{', '.join(receipt.providers)}; seeds {receipt.seeds}; batches"
        f" {', '.join(map(str, receipt.batch_sizes))}",
        "differs by": f"{_told(receipt.seen)} (allowed: {_told(receipt.allowed)}"
        f"{', loosened by the user' if receipt.loosened else ''})",
    }
    if device is not None:
        from wgan.runtime import Generator

        with Generator(file, device) as generator:
            rows["runs on"] = generator.provider
    for name, value in rows.items():
        click.echo(f"{name:14}{value}")


def _told(distance: "Distance") -> str:
    return (
        f"{distance.images:.1e} in float, {distance.pixels} of 255 in pixels,"
        f" {distance.mean_pixels:.1e} on average, {distance.psnr:.0f} dB"
    )
