"""`wgan sample`."""

from collections.abc import Sequence
from pathlib import Path

import click

from wgan.errors import UsageError


@click.command()
@click.argument("out", default="samples.png")
@click.option("-n", "count", type=int, help="How many pictures, seeds 0 to N - 1.  [default: 64]")
@click.option("--seeds", help="Which pictures, as in 0,1,4-6.")
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The ONNX file to draw from.  [default: the latest export]",
)
@click.option("--grid", help="ROWSxCOLUMNS of the grid.  [default: the squarest]")
@click.option("--batch-size", default=64, show_default=True, help="Pictures drawn at a time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads.  [default: the usable cores]")
@click.option("-v", "--verbose", is_flag=True, help="Say what ran, on standard error.")
def sample(
    out: str,
    count: int | None,
    seeds: str | None,
    model: Path | None,
    grid: str | None,
    batch_size: int,
    device: str,
    threads: int | None,
    verbose: bool,
) -> None:
    """Draw pictures from an exported generator, with no PyTorch.

    OUT is a PNG file for a grid of all pictures, or a folder, with a / at its end, for a file
    each, named by its seed. By default samples.png.
    """
    from wgan.images import parse_grid
    from wgan.runs import latest_export
    from wgan.runtime.generator import Generator
    from wgan.runtime.output import write_pictures

    chosen = _choose_seeds(count, seeds)
    shape = parse_grid(grid) if grid is not None else None
    with Generator(model or latest_export(), device, threads) as generator:
        if verbose:
            click.echo(f"running on {generator.provider}", err=True)
        write_pictures(out, generator, chosen, batch_size, shape)


def _choose_seeds(count: int | None, seeds: str | None) -> Sequence[int]:
    from wgan.latents import SEED_LIMIT, parse_seeds

    if seeds is not None:
        if count is not None:
            raise UsageError("-n and --seeds exclude each other: --seeds says how many as well")
        return parse_seeds(seeds)
    count = 64 if count is None else count
    if not 1 <= count <= SEED_LIMIT:
        raise UsageError(f"-n {count} is not allowed: draw 1 to {SEED_LIMIT} pictures")
    return range(count)
