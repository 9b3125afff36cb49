"""`wgan bench`."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wgan.cli.process import guard

if TYPE_CHECKING:
    from wgan.model_file.manifest import Manifest
    from wgan.runtime.benchmark import EngineFn, Timing


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
    from wgan.runtime.benchmark import BenchConfig
    from wgan.runtime.benchmark import bench as run

    config = BenchConfig(
        file=file,
        batch_sizes=_parse_sizes(batch_sizes),
        device=device,
        threads=threads,
        seconds=seconds,
    )
    result = run(config, _torch_engines)
    if as_json:
        timings = [dataclasses.asdict(timing) for timing in result.timings]
        click.echo(
            json.dumps(
                {
                    "memory_bytes": result.memory_bytes,
                    "threads": result.threads,
                    "timings": timings,
                }
            )
        )
        return
    memory = ""
    if result.memory_bytes is not None:
        memory = f", {result.memory_bytes / 2**20:.0f} MiB for a batch of {max(config.batch_sizes)}"
    click.echo(f"{result.provider}, {result.threads} threads{memory}")
    for timing in result.timings:
        click.echo(_row(timing))


def _parse_sizes(text: str) -> tuple[int, ...]:
    from wgan.errors import UsageError

    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) for part in parts):
        raise UsageError(f"--batch-sizes {text} is not allowed: numbers from 1, as in 1,8,64")
    return tuple(int(part) for part in parts)


def _torch_engines(manifest: "Manifest | None", threads: int) -> dict[str, "EngineFn"]:
    """Open PyTorch's engines; if there are none, say on standard error why."""
    from wgan.errors import WganError, needs_extra

    if manifest is None:
        click.echo(
            "PyTorch is left out: the file has no manifest that describes its networks", err=True
        )
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
