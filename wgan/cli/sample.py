"""`wgan sample`."""

from pathlib import Path

import click

from wgan.cli.process import end_at_once, guard
from wgan.errors import UsageError

DEFAULT_OUT = "samples.png"


@click.command()
@click.argument("out", required=False)
@click.option("-n", "count", type=int, help="How many images.  [default: 64]")
@click.option("--seed", "first", type=int, help="The first of the -n seeds.  [default: 0]")
@click.option("--seeds", help="Which seeds, as in 0,1,4-6.")
@click.option(
    "--latents",
    "latents_path",
    type=click.Path(path_type=Path),
    help="A .npy file of latents, float [n, latent_dim], in place of seeds.",
)
@click.option(
    "--truncation",
    default=1.0,
    show_default=True,
    help="Scales the latents: below 1 nearer to the mean image, 1 is off.",
)
@click.option("--interpolate", metavar="SEEDS", help="A closed path through these seeds.")
@click.option("--frames", type=int, help="Images on the whole path.  [default: 120]")
@click.option("--fps", default=30.0, show_default=True, help="Frames per second of an animation.")
@click.option("--grid", help="ROWSxCOLUMNS of a grid.  [default: the squarest]")
@click.option("--scale", default=1, show_default=True, help="Repeat each pixel N times.")
@click.option("--images", is_flag=True, help="Float images, [-1, 1], into a .npy or .npz.")
@click.option("--metadata", is_flag=True, help="Write seed, model and settings into PNGs.")
@click.option("--shard", metavar="I/N", help="Every N-th image, from the I-th on: 1/N to N/N.")
@click.option("--ray", is_flag=True, help="Run on a Ray cluster, into tar shards in a folder.")
@click.option("--shard-size", type=int, help="With --ray, images in a shard.  [default: 1000]")
@click.option("--overwrite", is_flag=True, help="Start again instead of resuming.")
@click.option("--model", help="The ONNX file, or builtin.  [default: the latest export]")
@click.option("--value-range", metavar="LOW,HIGH", help="Black and white, for a foreign model.")
@click.option("--batch-size", type=int, help="Images in a run.  [default: 16 on the CPU, else 64]")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, tensorrt, coreml, directml or openvino.",
)
@click.option("--threads", type=int, help="CPU threads.  [default: the usable cores]")
@click.option("-v", "--verbose", is_flag=True, help="Report the provider on standard error.")
@click.pass_obj
def sample(
    owns_process: bool | None,
    out: str | None,
    count: int | None,
    first: int | None,
    seeds: str | None,
    latents_path: Path | None,
    truncation: float,
    interpolate: str | None,
    frames: int | None,
    fps: float,
    grid: str | None,
    scale: int,
    images: bool,
    metadata: bool,
    shard: str | None,
    ray: bool,
    shard_size: int | None,
    overwrite: bool,
    model: str | None,
    value_range: str | None,
    batch_size: int | None,
    device: str,
    threads: int | None,
    verbose: bool,
) -> None:
    """Generate images with an exported generator, without PyTorch.

    The ending of OUT chooses the format; by default it is samples.png.

    \b
    out.png out.webp out.jpg   a grid
    out/                       a folder with a PNG for each seed
    out.tar out.zip            an archive of PNGs, named by seed
    out.npy out.npz            pixels, uint8 [n, height, width, channels]
    out.gif out.webp out.mp4   an animation, with --interpolate
    -                          a PNG on standard output

    The same command resumes a folder or tar that was interrupted. With --ray, out/ is a folder
    of shards, shard-00000.tar and so on, which the workers of a Ray cluster write.
    """  # noqa: D301 - click's \b is a real backspace
    guard(owns_process)
    from wgan.images import parse_grid
    from wgan.runtime import SampleConfig
    from wgan.runtime import sample as run
    from wgan.runtime.image_output import parse_value_range

    config = SampleConfig(
        out=DEFAULT_OUT if out is None else out,
        count=count,
        seed=first,
        seeds=seeds,
        latents=latents_path,
        truncation=truncation,
        interpolate=interpolate,
        frames=frames,
        fps=fps,
        grid=None if grid is None else parse_grid(grid),
        scale=scale,
        images=images,
        metadata=metadata,
        shard=None if shard is None else _parse_shard(shard),
        ray=ray,
        shard_size=shard_size,
        overwrite=overwrite,
        model=model,
        value_range=None if value_range is None else parse_value_range(value_range),
        batch_size=batch_size,
        device=device,
        threads=threads,
    )
    done = run(config)
    if verbose:
        click.echo(f"running on {done.provider}", err=True)
    if verbose or out is None:  # a user who gave a name knows it
        click.echo(f"wrote {done.count:,} images to {done.out}", err=True)
    if owns_process:
        end_at_once()


def _parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise UsageError(f"--shard {text!r} is not allowed: I/N, from 1/N to N/N")
    return int(index), int(count)
