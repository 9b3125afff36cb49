"""`wgan sample`."""

import threading
from importlib import import_module
from pathlib import Path

import click

from wgan.cli.process import end_at_once, guard
from wgan.errors import UsageError
from wgan.stop import Stopped

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
@click.option("--scale", default=1, show_default=True, help="Make each pixel a square of so many.")
@click.option("--images", is_flag=True, help="Float images, [-1, 1], into a .npy or .npz.")
@click.option("--metadata", is_flag=True, help="Write seed, model and settings into PNGs.")
@click.option("--shard", metavar="I/N", help="Every N-th image, from the I-th on: 1/N to N/N.")
@click.option("--ray", is_flag=True, help="Draw on a Ray cluster, into tar shards in a folder.")
@click.option("--shard-size", type=int, help="With --ray, images in a shard.  [default: 1000]")
@click.option("--overwrite", is_flag=True, help="Draw anew what was begun before.")
@click.option("--model", help="The ONNX file, or builtin.  [default: the latest export]")
@click.option("--value-range", metavar="LOW,HIGH", help="Black and white, for a foreign model.")
@click.option(
    "--batch-size", type=int, help="Images drawn at a time.  [default: 16 on the CPU, else 64]"
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, tensorrt, coreml, directml or openvino.",
)
@click.option("--threads", type=int, help="CPU threads.  [default: the usable cores]")
@click.option("-v", "--verbose", is_flag=True, help="Say on standard error what ran.")
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
    """Draw images from an exported generator, with no PyTorch.

    OUT says by its ending what is written, by default samples.png.

    \b
    out.png out.webp out.jpg   a grid
    out/                       a folder with a PNG for each seed
    out.tar out.zip            an archive of PNGs, named by seed
    out.npy out.npz            pixels, uint8 [n, height, width, channels]
    out.gif out.webp out.mp4   an animation, with --interpolate
    -                          a PNG on standard output

    A folder or tar that was interrupted is gone on with by the same command. With --ray, out/
    is a folder of shards, shard-00000.tar and so on, which the workers of a Ray cluster draw.
    """  # noqa: D301 - click's \b is a real backspace
    guard(owns_process)
    from wgan.images import parse_grid
    from wgan.runtime import Generator
    from wgan.runtime.builtin import find_model
    from wgan.runtime.image_output import parse_value_range
    from wgan.runtime.job import Job, Options, parse_shard
    from wgan.runtime.selection import SampleSelection
    from wgan.runtime.writers import goes_on, write

    options = Options(
        batch_size=batch_size,
        grid=None if grid is None else parse_grid(grid),
        scale=scale,
        floats=images,
        metadata=metadata,
        overwrite=overwrite,
        fps=fps,
    )
    part, parts = (1, 1) if shard is None else parse_shard(shard)
    expected = None if value_range is None else parse_value_range(value_range)
    choice = SampleSelection(
        count=count,
        first=first,
        seeds=seeds,
        latents=latents_path,
        interpolate=interpolate,
        frames=frames,
        truncation=truncation,
        otherwise=options.grid and options.grid[0] * options.grid[1],
    )
    # Opening a model takes a while, in which Python is free to import what writes the images.
    threading.Thread(target=import_module, args=("PIL.PngImagePlugin",)).start()
    if ray and shard is not None:
        raise UsageError("--ray and --shard both divide the work: give one of them")
    if shard_size is not None and not ray:
        raise UsageError("--shard-size goes with --ray")
    path = find_model(model)
    here = "cpu" if ray else device  # the device is the workers'
    with Generator(path, here, threads, value_range=expected) as generator:
        if verbose:
            click.echo(f"running on {generator.provider}", err=True)
        source = choice.source(generator.latent_dim)
        positions = range(len(source))[part - 1 :: parts]
        if not positions:
            raise UsageError(f"shard {shard} is empty: there are {len(source)} images")
        place = DEFAULT_OUT if out is None else out
        job = Job(generator, source, positions, options)
        try:
            if ray:
                from wgan.runtime.ray import SHARD_SIZE, WorkerConfig, write_shards

                crew = WorkerConfig(
                    device=device,
                    threads=threads or 1,
                    value_range=expected,
                    shard_size=SHARD_SIZE if shard_size is None else shard_size,
                )
                write_shards(place, job, path, crew)
            else:
                write(place, job)
        except Stopped as exc:
            resumes = ray or goes_on(place, job)
            result = "the same command resumes" if resumes else "nothing was written"
            raise Stopped(exc.number, f"stopped; {result}") from None
        if verbose or out is None:  # who has said where need not be told
            click.echo(f"wrote {len(positions):,} images to {place}", err=True)
        if owns_process:
            end_at_once()
