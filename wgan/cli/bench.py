"""`wgan bench`."""

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.runtime.config import BenchConfig

if TYPE_CHECKING:
    from wgan.model_file.manifest import Manifest
    from wgan.runtime.benchmark import EngineFn, Timing


@click.command(cls=ConfigCommand)
@protected()
@config_options(BenchConfig)
@click.option("--json", "as_json", is_flag=True, help="Print the times as JSON.")
def bench(given: Given, as_json: bool) -> None:
    """Time an exported file on this machine. By default the latest export.

    Images per second and milliseconds by batch size, the provider that ran, the memory it took.
    PyTorch and TorchScript take their turns beside it where they are installed.
    """
    from wgan.runtime.benchmark import bench as run  # imports numpy and ONNX Runtime

    config = given.make(BenchConfig)
    result = run(config, _torch_engines)
    if as_json:
        timings = [
            {
                **dataclasses.asdict(timing),
                "median_ms": timing.median_ms,
                "quartiles_ms": timing.spread_ms,
                "images_per_second": timing.images_per_second,
            }
            for timing in result.timings
        ]
        click.echo(json.dumps({**dataclasses.asdict(result), "timings": timings}))
        return
    memory = ""
    if result.memory_bytes is not None:
        memory = f", {result.memory_bytes / 2**20:.0f} MiB for a batch of {max(config.batch_sizes)}"
    click.echo(f"{result.provider}, {result.threads} threads{memory}")
    for timing in result.timings:
        click.echo(_row(timing))


def _torch_engines(manifest: "Manifest | None", threads: int) -> dict[str, "EngineFn"]:
    """Open PyTorch's engines; if there are none, say on standard error why."""
    from wgan.errors import WganError, needs_extra

    if manifest is None or manifest.source:  # a module or an ONNX file of another project
        click.echo("PyTorch is left out: the networks of the file are not wgan's own", err=True)
        return {}
    try:
        with needs_extra("export", purpose="timing PyTorch"):
            from wgan.export.formats.torchscript import torch_engines
        return dict(torch_engines(manifest.config, manifest.latent_dim, threads))
    except WganError as exc:
        click.echo(f"PyTorch is left out: {exc}", err=True)
        return {}


def _row(timing: "Timing") -> str:
    low, high = timing.spread_ms
    return (
        f"batch {timing.batch_size:4}  {timing.engine:24} {timing.images_per_second:10.1f} images/s"
        f"  {timing.median_ms:9.2f} ms  (half of the runs {low:.2f}-{high:.2f})"
    )
