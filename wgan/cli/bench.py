"""`wgan bench`."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wgan.cli.process import guard

if TYPE_CHECKING:
    from wgan.model_file.manifest import Manifest
    from wgan.runtime.benchmark import Draw, Timing


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--batch-sizes", default="1,8,64", show_default=True, help="Images in a run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--threads", type=int, help="CPU threads.  [default: the usable cores]")
@click.option("--seconds", default=2.0, show_default=True, help="For each engine and batch size.")
@click.option("--json", "as_json", is_flag=True, help="Print the times as JSON.")
@click.pass_obj
def bench(
    owns_process: bool | None,
    file: Path | None,
    batch_sizes: str,
    device: str,
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Time an exported FILE on this machine. By default the latest export.

    Images per second and milliseconds by batch size, the provider that ran, the memory it took.
    PyTorch and TorchScript take their turns beside it where they are installed.
    """
    guard(owns_process)
    from wgan.errors import ModelFileError, UsageError
    from wgan.latents import latents_from_seeds
    from wgan.runs import latest_export
    from wgan.runtime.benchmark import measure, memory_grown
    from wgan.runtime.generator import Generator
    from wgan.runtime.threads import usable_cores

    if not 0 < seconds < math.inf:  # false for NaN as well
        raise UsageError(f"--seconds {seconds:g} is not allowed: greater than 0 and finite")
    sizes = _read_sizes(batch_sizes)
    threads = threads or usable_cores()
    path = file or latest_export()
    if path is None:
        raise ModelFileError(
            "no generator was exported in this folder: run  wgan export --format onnx  first, or"
            " name a file"
        )
    generator = Generator(path, device, threads)
    largest = latents_from_seeds(range(max(sizes)), generator.latent_dim)
    # Opened a second time: by then all that ONNX Runtime itself takes is there.
    run, grown = memory_grown(lambda: Generator(path, device, threads).run, largest)
    engines = {generator.provider: run, **_torch_engines(generator.manifest, threads)}
    timings = list(measure(engines, generator.latent_dim, sizes, seconds))
    if as_json:
        told = [dataclasses.asdict(timing) for timing in timings]
        click.echo(json.dumps({"memory_bytes": grown, "threads": threads, "timings": told}))
        return
    memory = "" if grown is None else f", {grown / 2**20:.0f} MiB for a batch of {max(sizes)}"
    click.echo(f"{generator.provider}, {threads} threads{memory}")
    for timing in timings:
        click.echo(_row(timing))


def _read_sizes(text: str) -> list[int]:
    from wgan.errors import UsageError

    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UsageError(f"--batch-sizes {text} cannot be read: write numbers from 1, as in 1,8,64")
    return [int(part) for part in parts]


def _torch_engines(manifest: "Manifest | None", threads: int) -> dict[str, "Draw"]:
    """PyTorch's engines; none, with the reason on standard error, where there cannot be any."""
    from wgan.errors import WganError
    from wgan.extras import needs_extra

    if manifest is None:
        click.echo("PyTorch is left out: the file does not say what networks it is of", err=True)
        return {}
    try:
        with needs_extra("export", purpose="timing PyTorch"):
            from wgan.export.parity.engines import torch_engines
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
